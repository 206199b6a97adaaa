//! From the configuration to a bridge that has joined its group: everything is built, and every condition checked, before
//! the first record is read. What may mend itself is waited for; what cannot is said and ends the process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::budget::Budget;
use super::certificates;
use super::flow::now_ms;
use super::key_space::{self, Ownership};
use super::membership::{Membership, Notices};
use super::moves::Moves;
use super::pauses::Pauses;
use super::sources::{Joined, SourceSettings, Target};
use super::twins::Twins;
use super::{Bridge, Shared, growth, summing, target};
use crate::cli::Stream;
use crate::config::{self, Config};
use crate::http::{self, Api};
use crate::lane::{Limits, Route, Routing};
use crate::logging::events;
use crate::metrics::Metrics;
use crate::pulsar::{Client, ClientConfig, Compression, Error, SchemaInfo, SchemaKind};
use crate::retry::Retry;
use crate::shutdown::{Exit, Stop};
use crate::source::Notice;
use crate::status::{BridgeState, StatusBoard};
use crate::translate::{Contract, JsonPlan};

/// Why a bridge does not start.
pub(super) struct Problem {
    pub(super) text: String,
    pub(super) exit: Exit,
}

impl Problem {
    pub(super) fn config(text: impl std::fmt::Display) -> Self {
        Self { text: text.to_string(), exit: Exit::Config }
    }

    pub(super) fn fault(text: impl std::fmt::Display) -> Self {
        Self { text: text.to_string(), exit: Exit::Fault }
    }
}

/// Builds the bridge. `None` where it was told to stop before it had started.
pub(super) async fn bridge(stream: Stream, config: Config, mut stop: Stop) -> Result<Option<Bridge>, Problem> {
    let contract = stream.contract_text(&config).map_err(Problem::config)?;
    let contract = Arc::new(Contract::parse(&contract).map_err(Problem::config)?);
    let client = Client::new(ClientConfig::of(&config.pulsar)).map_err(Problem::config)?;
    let metrics = Metrics::new(stream.name, stream.version);
    let board = StatusBoard::new(stream.name, stream.version, Instant::now(), now_ms());
    let (controls_in, controls) = mpsc::channel(16);
    let token = config.http.token_file.as_deref();
    let token = config::read_secret(None, token).map_err(Problem::config)?;
    let stall = Duration::from_secs(u64::from(config.health.stall_seconds));
    let api = Api { metrics: metrics.clone(), board: board.clone(), stall, token, controls: controls_in };
    let listener = http::bind(config.http.listen).await.map_err(Problem::fault)?;
    let listen = listener.local_addr().map_err(Problem::fault)?;
    tracing::info!(event = events::STARTING, version = stream.version, %listen, "the configuration is good");
    tokio::spawn(http::serve(listener, api, stop.clone()));

    tokio::spawn(certificates::watch(certificates::files(&config), metrics.clone()));
    summing::start(&config, board.clone(), metrics.clone());
    let shared = Arc::new(shared(&config, &contract, client, board, metrics)?);
    let joined = tokio::select! {
        joined = join(&config, &contract, &shared) => joined?,
        _ = stop.asked() => return Ok(None),
    };
    shared.board.set_error(None);
    let (routing, sources, (notices_in, notices), key_space) = joined;
    let (rejoined_in, rejoined) = mpsc::unbounded_channel();
    let (pauses, revoke_deadline) = (Pauses::new(config.stream.paused), revoke_deadline(&config));
    let fitness = target::watch(&config, shared.admin.clone());
    let growth = growth::watch(shared.client.clone(), routing.clone());
    tracing::info!(event = events::RUNNING, sources = sources.len(), "the sources are joined");
    Ok(Some(Bridge {
        fitness,
        unfit: None,
        shared,
        routing,
        sources,
        config: Arc::new(config),
        notices,
        notices_in,
        rejoined,
        rejoined_in,
        key_space,
        controls,
        growth,
        moves: Moves::default(),
        flows: std::collections::BTreeMap::new(),
        leaving: Vec::new(),
        pauses,
        revoke_deadline,
        contract,
    }))
}

/// Where the sources' notices go, and where they come out.
pub(super) type Channel = (mpsc::UnboundedSender<(usize, Notice)>, Notices);
type All = (Routing, Vec<Joined>, Channel, Option<mpsc::UnboundedReceiver<Ownership>>);

/// Looks at the target, then joins the sources; before them the keys must be ours, where the sources share them.
async fn join(config: &Config, contract: &Arc<Contract>, shared: &Shared) -> Result<All, Problem> {
    target::check(config, contract, &shared.board).await?;
    let routing = routing(config, shared).await?;
    let mut key_space = None;
    if shared.twins.is_some() {
        let client = shared.client.clone();
        let mut told = key_space::own(client, shared.checkpoints.clone(), &shared.stream, shared.board.clone());
        loop {
            match told.recv().await {
                Some(Ownership::Owned) => break,
                Some(Ownership::Taken) => shared.board.set_state(BridgeState::StandingBy),
                Some(Ownership::Lost) => {}
                None => return Err(Problem::fault("the task that owns the keys of this stream has ended")),
            }
        }
        shared.board.set_state(BridgeState::Starting);
        key_space = Some(told);
    }
    let (sources, notices) = join_sources(config, contract, shared, routing.partitions).await?;
    Ok((routing, sources, notices, key_space))
}

/// Joins the sources, one after the other. The keys are ours, where the sources share them.
pub(super) async fn join_sources(
    config: &Config,
    contract: &Arc<Contract>,
    shared: &Shared,
    target_partitions: u32,
) -> Result<(Vec<Joined>, Channel), Problem> {
    let (notices_in, notices) = mpsc::unbounded_channel();
    let mut sources = Vec::new();
    let target = Target { client: &shared.client, partitions: target_partitions };
    for (index, (name, source)) in config.source.iter().enumerate() {
        let settings = Arc::new(SourceSettings::new(name, source, config, contract, &target)?);
        let notices = (index, notices_in.clone());
        let membership = Membership::join(config, name, source, &shared.board, notices, Duration::ZERO).await?;
        sources.push(Joined::new(settings, membership));
    }
    if let Some(twins) = &shared.twins {
        twins.own(sources.iter().map(Joined::partition_count).sum());
    }
    Ok((sources, (notices_in, notices)))
}

fn shared(
    config: &Config,
    contract: &Contract,
    client: Client,
    board: StatusBoard,
    metrics: Metrics,
) -> Result<Shared, Problem> {
    let plan = JsonPlan::compile(contract, config.contract.on_unknown_field).map_err(Problem::config)?;
    let schema = SchemaInfo {
        name: contract.name().to_owned(),
        kind: SchemaKind::Avro,
        data: contract.schema_json().as_bytes().to_vec(),
        properties: Vec::new(),
    };
    let limits = Limits {
        in_flight: config.limits.in_flight as usize,
        batch_bytes: config.limits.batch_kib as usize * 1024,
        ..Limits::default()
    };
    let has_contract = config.has_contract();
    let dedupe = &config.dedupe;
    Ok(Shared {
        stream: config.stream.name.clone(),
        checkpoints: config.checkpoint_topic().to_string(),
        schema: has_contract.then(|| Arc::new(schema)),
        contract: has_contract.then(|| contract.fingerprint().to_owned()),
        plan: has_contract.then(|| Arc::new(plan)),
        compression: compression(config),
        limits,
        max_dead_letter_ratio: config.dead_letters.max_ratio,
        digest: config.target.digest,
        client,
        board,
        metrics,
        admin: target::admin(config)?,
        // Half of the memory is for what is in flight, half for what the sources' clients have fetched.
        budget: Budget::new(config.limits.memory_mib as usize * 1024 * 1024 / 2, config.limits.bytes_per_second),
        twins: dedupe
            .key
            .as_ref()
            .map(|_| Twins::new(u64::from(dedupe.window_seconds) * 1000, dedupe.window_records as usize)),
    })
}

pub(super) fn compression(config: &Config) -> Compression {
    match config.target.compression {
        config::Compression::Lz4 => Compression::Lz4,
        config::Compression::Zstd => Compression::Zstd(1),
        config::Compression::None => Compression::None,
    }
}

pub(super) fn revoke_deadline(config: &Config) -> Duration {
    Duration::from_secs(u64::from(config.shutdown.deadline_seconds))
}

/// The routing that the configuration and the partition counts of its topics make.
async fn routing(config: &Config, shared: &Shared) -> Result<Routing, Problem> {
    let topic = config.target.topic.to_string();
    let mut routes = Vec::new();
    for route in config.route.values() {
        let partitions = partitions(&route.topic.to_string(), shared).await?;
        let (field, equals) = (route.field.clone(), route.equals.clone());
        routes.push(Route { field, equals, topic: route.topic.to_string(), partitions });
    }
    Ok(Routing {
        partition_by: config.target.partition_by(),
        partitions: partitions(&topic, shared).await?,
        topic,
        dead_letters: config.dead_letter_topic().to_string(),
        routes,
    })
}

async fn partitions(topic: &str, shared: &Shared) -> Result<u32, Problem> {
    let mut retry = Retry::for_brokers();
    loop {
        match shared.client.partitions(topic).await {
            Ok(partitions) => return Ok(partitions),
            Err(error @ (Error::Config(_) | Error::Refused { .. })) => return Err(Problem::fault(error)),
            Err(error) => wait(&mut retry, &shared.board, &error.to_string()).await,
        }
    }
}

/// Says what is being waited for, and waits.
pub(super) async fn wait(retry: &mut Retry, board: &StatusBoard, problem: &str) {
    let pause = retry.next_pause();
    let (attempt, pause_ms) = (retry.attempts(), pause.as_millis() as u64);
    tracing::warn!(event = events::START_WAITS, attempt, pause_ms, "{problem}");
    board.set_error(Some(problem.to_owned()));
    tokio::time::sleep(pause).await;
}
