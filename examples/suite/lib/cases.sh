# check NAME COMMAND…: a case that passes when the command does.
check() {
    name=$1
    shift
    if "$@"; then
        lava-test-case "$name" --result pass
    else
        lava-test-case "$name" --result fail
    fi
}
