# shellcheck shell=bash
# Debian packages: installs what is missing, or says what is.

# Lists of NEED:PACKAGE. A need is a command, a path, or what `is_there` knows by name.

# The servers of the local stack.
# shellcheck disable=SC2034
stack_packages=(
    java:openjdk-17-jre-headless
    mvn:maven
    curl:curl
    flock:util-linux
    /usr/lib/rabbitmq/bin/rabbitmq-server:rabbitmq-server
)

# Building the workspace: librdkafka is built by its own configure and make, zstd and ring by cc, Pulsar's messages
# by protoc.
# shellcheck disable=SC2034
build_packages=(
    gcc:gcc
    g++:g++
    /usr/include/stdio.h:libc6-dev
    make:make
    pkg-config:pkg-config
    protoc:protobuf-compiler
)

# The tests' clients that are not ours.
# shellcheck disable=SC2034
test_packages=(
    python3:python3
    python-venv:python3-venv
    javac:openjdk-17-jdk-headless
    # The rules' own tests and the alerts that are seen firing; the pages in a real browser.
    promtool:prometheus
    chromium:chromium
)

is_there() {
    case $1 in
        /*) [[ -e $1 ]] ;;
        python-venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# missing_packages NEED:PACKAGE...: the packages whose need is not met, one a line.
missing_packages() {
    local entry
    for entry in "$@"; do
        is_there "${entry%%:*}" || printf '%s\n' "${entry#*:}"
    done
}

# ensure_packages NEED:PACKAGE...: afterwards every need is met, or the script has ended saying what is missing.
ensure_packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]})) || return 0
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        fail "missing: ${missing[*]} (names of Debian packages). Install them, or run this as root on Debian 12."
    fi
    with_cache_lock install install_missing "$@" || fail "apt-get could not install ${missing[*]}: see above"
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]} == 0)) || fail "installed, but still not found: ${missing[*]}"
}

# Looks again under the lock: another stack may have just installed them.
install_missing() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]})) || return 0
    say "installing ${missing[*]}"
    install_packages "${missing[@]}"
}

# A package with a service (rabbitmq-server) starts it when it is installed, and at every boot. Nobody asked for
# that one: it is neither started nor enabled. A service that was there before is not touched.
install_packages() (
    log=$(mktemp)
    trap 'restore_policy; rm -f "$log"' EXIT
    forbid_service_start
    apt_install "$@" </dev/null >"$log" 2>&1 8>&- 9>&- &
    apt=$!
    seconds=0
    while kill -0 "$apt" 2>/dev/null; do
        sleep 1
        seconds=$((seconds + 1))
        ((seconds % 10)) || say "installing: $(tail -n 1 "$log" | cut -c 1-100)"
    done
    if ! wait "$apt"; then
        tail -n 20 "$log" >&2
        exit 1
    fi
    if [[ " $* " == *" rabbitmq-server "* && -d /run/systemd/system ]]; then
        systemctl --quiet disable rabbitmq-server.service || true
    fi
)

apt_install() {
    local apt=(apt-get -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
    export DEBIAN_FRONTEND=noninteractive
    "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "$@"
}

# policy-rc.d is Debian's way to tell installations not to start services. An existing one is put back afterwards,
# also when an earlier run was killed before it could.
policy=/usr/sbin/policy-rc.d
forbid_service_start() {
    if [[ -e $policy ]] && ! grep -q '^# stream bridges$' "$policy"; then
        mv "$policy" "$policy.before-stream-bridges"
    fi
    printf '#!/bin/sh\n# stream bridges\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

restore_policy() {
    rm -f "$policy"
    if [[ -e $policy.before-stream-bridges ]]; then
        mv "$policy.before-stream-bridges" "$policy"
    fi
}

# ensure_java: 17 or later is what the registry and Kafka run on.
ensure_java() {
    local version
    version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    ((${version:-0} >= 17)) || fail "the java on the path is version ${version:-unknown}, 17 or later is needed (openjdk-17-jre-headless)"
}

# ensure_rust: Rust is not ours to install.
ensure_rust() {
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$repository/Cargo.toml")
    command -v cargo >/dev/null || fail "Rust $wanted or later is needed to build, and there is no cargo on the path"
    found=$(rustc --version | cut -d' ' -f2)
    printf '%s\n' "$wanted" "$found" | sort -CV || fail "Rust $wanted or later is needed to build, this one is $found"
}
