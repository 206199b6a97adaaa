# shellcheck shell=bash
# What the suites of deploy/ share: where things are, and the tools, pinned, each installed once into the cache.

# shellcheck source=../../deploy/local/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/local/lib/common.sh"
# shellcheck source=../../deploy/local/lib/packages.sh
source "$repository/deploy/local/lib/packages.sh"
# shellcheck source=../../deploy/local/lib/go.sh
source "$repository/deploy/local/lib/go.sh"

tools=$cache_dir/tools
helm_version=4.3.1 kubeconform_version=0.8.0
# The schemas of all versions of Kubernetes are in one package, those of further kinds in the modules that define them.
kubernetes_schemas_version=1.37.0 keda_version=2.21.0 prometheus_operator_version=0.85.0
python_packages=("kubernetes-validate==$kubernetes_schemas_version" 'cyclonedx-python-lib[json-validation]==11.12.0' 'PyYAML==6.0.3')

# shellcheck disable=SC2034
image_packages=(buildah:buildah crun:crun mmdebstrap:mmdebstrap musl-gcc:musl-tools file:file)

# go_tool NAME VERSION PACKAGE: $tools/NAME-VERSION is that program afterwards.
go_tool() {
    [[ -x $tools/$1-$2 ]] || with_cache_lock "tool-$1" build_go_tool "$@"
}

build_go_tool() {
    local name=$1 version=$2 package=$3 into=$tools/partial-$1
    [[ ! -x $tools/$name-$version ]] || return 0
    ensure_go
    say "building $name $version"
    mkdir -p "$into"
    GOBIN=$into GOFLAGS=-buildvcs=false go install "$package@v$version" </dev/null 8>&- 9>&-
    mv "$into/$name" "$tools/$name-$version"
    rmdir "$into"
}

# python_tools: $tools/python/bin/python has the packages afterwards.
python_tools() {
    [[ "$(cat "$tools/python/ready" 2>/dev/null)" == "${python_packages[*]}" ]] || with_cache_lock tool-python build_python_tools
}

build_python_tools() {
    [[ "$(cat "$tools/python/ready" 2>/dev/null)" != "${python_packages[*]}" ]] || return 0
    ensure_packages python3:python3 python-venv:python3-venv
    say "installing ${python_packages[*]}"
    python3 -m venv "$tools/python"
    "$tools/python/bin/pip" install --quiet --disable-pip-version-check "${python_packages[@]}" </dev/null 8>&- 9>&-
    printf '%s\n' "${python_packages[*]}" >"$tools/python/ready"
}
