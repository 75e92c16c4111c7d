# SPDX-License-Identifier: GPL-2.0-or-later
# bash completion for vnetctl

_vnetctl()
{
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}

    case $previous in
    -s | --socket | check | change | start)
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
        ;;
    link)
        mapfile -t COMPREPLY < <(compgen -W "add del commands change check" -- "$word")
        return
        ;;
    capture)
        mapfile -t COMPREPLY < <(compgen -W "start stop" -- "$word")
        return
        ;;
    rate)
        mapfile -t COMPREPLY < <(compgen -W "tx rx" -- "$word")
        return
        ;;
    route)
        mapfile -t COMPREPLY < <(compgen -W "change" -- "$word")
        return
        ;;
    esac
    case $word in
    -*)
        mapfile -t COMPREPLY < <(compgen -W "--socket --netdev --json --all \
            --no-header --delay --count --replace --dry-run --version --help" \
            -- "$word")
        ;;
    *)
        mapfile -t COMPREPLY < <(compgen -W "status links ports streams macs \
            routes counters metrics top watch link rate capture route check" -- "$word")
        ;;
    esac
}
complete -F _vnetctl vnetctl
