# shellcheck shell=bash
# Downloads by Maven into the cache, each once for all stacks.
#
# Invariant: a directory in the cache under its final name is complete. It is filled under another name and renamed.

dependency_plugin=org.apache.maven.plugins:maven-dependency-plugin:3.8.1

# fetch_once SERVER VERSION MEGABYTES FUNCTION: runs FUNCTION DIRECTORY to fill the cache's SERVER-VERSION, unless it is there.
fetch_once() {
    [[ -d $cache_dir/$1-$2 ]] || with_cache_lock fetch fetch_locked "$@"
}

fetch_locked() {
    local server=$1 version=$2 megabytes=$3 fill=$4
    local target=$cache_dir/$server-$version partial=$cache_dir/partial-$server
    [[ ! -d $target ]] || return 0
    say "$server: fetching version $version, about $megabytes MB, into $cache_dir"
    rm -rf "$partial"
    mkdir -p "$partial"
    "$fill" "$partial"
    mv "$partial" "$target"
    find "$cache_dir/maven" -name '*.tar.gz' -delete # unpacked now; the plugin's own jars are worth keeping
    say "$server: fetched"
}

# fetch_archive SERVER COORDINATES DIRECTORY: downloads one artifact (group:artifact:version:tar.gz:classifier) and unpacks it.
fetch_archive() {
    local server=$1 coordinates=$2 directory=$3
    run_maven "$server" "$dependency_plugin:copy" -Dartifact="$coordinates" -DoutputDirectory="$directory/archive"
    say "$server: unpacking"
    tar -xzf "$directory"/archive/*.tar.gz -C "$directory"
    rm -rf "$directory/archive"
}

# run_maven SERVER ARGUMENTS...: quiet, checksums enforced, telling every few seconds how much has arrived.
run_maven() {
    local server=$1 log=$cache_dir/maven.log repository=$cache_dir/maven maven before seconds=0
    shift
    mkdir -p "$repository"
    before=$(megabytes_in "$repository")
    mvn -B -C -Dmaven.repo.local="$repository" "$@" </dev/null >"$log" 2>&1 8>&- 9>&- &
    maven=$!
    while kill -0 "$maven" 2>/dev/null; do
        sleep 1
        seconds=$((seconds + 1))
        ((seconds % 4)) || say "$server: $(($(megabytes_in "$repository") - before)) MB have arrived"
    done
    if ! wait "$maven"; then
        grep -m 5 ERROR "$log" >&2 || tail -n 5 "$log" >&2
        fail "$server: the download failed, the whole story is in $log. Run it again when Maven can reach its repository."
    fi
    sed -n "s|.*Downloaded from [^ ]* [^ ]*/\([^/ ]*\) (\([0-9.]* MB\) .*|$server: \1: \2|p" "$log" >&2
}

# A file may vanish while it is counted: that is no failure.
megabytes_in() { { du -sm "$1" 2>/dev/null || true; } | awk '{ print $1 }'; }
