# Sourced by setup.sh and setup_vllm_cpu.sh: only an environment that they made is replaced.

# own_environment FOLDER: empties what a former call made there; ends with an error if somebody else made it. FOLDER may
# be a link to a folder on another disk.
own_environment() {
    mkdir -p "$(dirname "$1")"
    if [ -e "$1" ] && [ ! -e "$1/.made_by_setup" ] && [ ! -e "$1/.installed" ] && [ -n "$(ls -A "$1")" ]; then
        echo "setup: $1 was not made by this script, which would replace it. Move it away first" >&2
        exit 1
    fi
    [ ! -d "$1" ] || find "$1/" -mindepth 1 -delete
    mkdir -p "$1"
    touch "$1/.made_by_setup"
}
