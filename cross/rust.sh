# Debian's Rust, unpacked into the cache. Source it, after ci/lib.sh; it defines functions, and $rust.
# shellcheck shell=bash
# shellcheck disable=SC2154 # cache_dir and piece are of ci/lib.sh

rust='' rust_libraries=''

# debian_rust LABEL SUFFIX LIBRARY: with compiler, cargo, and the standard library for this machine and as source, all of
# the version that apt knows by SUFFIX. LIBRARY is the package with the compiler's own library. Afterwards $rust is its /usr.
debian_rust() {
    local label=$1 suffix=$2 library=$3
    [ -z "$rust" ] || return 0
    need dpkg
    piece "$cache_dir/toolchain" "$label" "$({ declare -f make_rust && echo "$suffix"; } | recipe_key)" make_rust "$suffix" "$library"
    rust=$piece/usr
    rust_libraries=$(dirname "$rust"/lib/*/librustc_driver-*.so)
    { debian_cargo --version && LD_LIBRARY_PATH=$rust_libraries "$rust/bin/rustc" --version; } >/dev/null ||
        die "libraries that Debian's Rust needs are missing (above); run ci/setup, and for pumice ci/setup hosts"
}

# Its unstable options are open to it: building std, and those that make a program small.
debian_cargo() {
    LD_LIBRARY_PATH=$rust_libraries RUSTC=$rust/bin/rustc RUSTC_BOOTSTRAP=1 "$rust/bin/cargo" "$@"
}

make_rust() {
    local suffix=$1 library=$2 dir=$3 deb
    fetch_debs "$(dpkg --print-architecture)" "$dir/deb" {rustc-web,cargo-web,libstd-rust-web-dev,rust-web-src}"$suffix" "$library"
    for deb in "$dir"/deb/*.deb; do dpkg -x "$deb" "$dir"; done
    # Building the standard library takes its own source, not the compiler's; that would be 400 MB.
    find "$dir"/usr/src/rustc-* -mindepth 1 -maxdepth 1 ! -name library -exec rm -r {} +
    rm -r "${dir:?}"/{deb,usr/share}
}
