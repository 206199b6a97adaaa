//! The examples that `--help` shows.

pub(crate) const SETUP: &str = "\
Examples:
  bridgectl setup --all --dry-run         the plan, with what differs
  bridgectl setup job-lifecycle           does it
  bridgectl setup --all --as 'on-call'    notes who asked for it in the operations log";

pub(crate) const CHECK: &str = "\
Examples:
  bridgectl check
  bridgectl check job-lifecycle --json";

pub(crate) const STATUS: &str = "\
Examples:
  bridgectl status
  bridgectl status --watch
  bridgectl status job-lifecycle --json
  bridgectl status --html fleet.html";

pub(crate) const PAUSE: &str = "\
Examples:
  bridgectl pause job-lifecycle --yes
  bridgectl pause job-lifecycle --partition 3,4
  bridgectl pause notifications --partition 0 --topic bridge-notifications";

pub(crate) const RESUME: &str = "\
Examples:
  bridgectl resume job-lifecycle
  bridgectl resume job-lifecycle --partition 3";

pub(crate) const DRAIN: &str = "\
Examples:
  bridgectl drain job-lifecycle --yes";

pub(crate) const CHECKPOINT: &str = "\
Examples:
  bridgectl checkpoint job-lifecycle show
  bridgectl checkpoint job-lifecycle set --partition 3 --position 1500";

pub(crate) const DEAD_LETTERS: &str = "\
Examples:
  bridgectl dead-letters job-lifecycle list --cause wrong_type --since 2h
  bridgectl dead-letters job-lifecycle show 3/1500 --body
  bridgectl dead-letters job-lifecycle redrive --cause missing_field --dry-run
  bridgectl dead-letters job-lifecycle export --out dead.jsonl";

pub(crate) const SLO: &str = "\
Examples:
  bridgectl slo job-lifecycle --seconds 300
  bridgectl slo job-lifecycle --since 1h";

pub(crate) const OPERATIONS: &str = "\
Examples:
  bridgectl operations --since 7d
  bridgectl operations job-lifecycle --verb 'checkpoint set' --json";

pub(crate) const COMPLETIONS: &str = "\
Examples:
  bridgectl completions bash > /etc/bash_completion.d/bridgectl";

pub(crate) const VERIFY: &str = "\
Examples:
  bridgectl verify job-lifecycle                      the last hour
  bridgectl verify job-lifecycle --since-start --json everything, for a script
  bridgectl verify job-lifecycle --since 2d --until 1d
  bridgectl verify job-lifecycle --offsets 3=120000-125000
  bridgectl verify job-lifecycle --follow             until Ctrl-C
  bridgectl verify job-lifecycle --reread             the target gives the same, read twice

Exit codes: 0 parity, 1 no parity, not proved, nothing to compare, or a server that does not answer, 2 the configuration or the command line is wrong.";

pub(crate) const REPLAY: &str = "\
Examples:
  bridgectl replay job-lifecycle --missing --since 6h --dry-run     what is missing, and nothing else
  bridgectl replay job-lifecycle --missing --since 6h --yes
  bridgectl replay job-lifecycle --to persistent://public/replays/jobs --since 2026-01-31T12:00:00Z --until 2026-01-31T13:00:00Z
  bridgectl replay job-lifecycle --to ... --since ... --until ... --id 20260131T140000Z     goes on where it was killed

Exit codes: 0 done, 1 not done or not all of it, 2 the configuration or the command line is wrong.";
