# bash completion for queuectl and queued; made from their usage texts.

@TABLES@

# _queuectl_scan COUNT: reads the first COUNT words of the line. Sets command (the words that name
# it), place (how many arguments follow it), literal (1 after --) and database (the options for it).
_queuectl_scan() {
    local index word value
    for ((index = 1; index < $1; index++)); do
        word=${COMP_WORDS[index]} value=
        if [[ $word == : ]]; then # bash breaks words at a colon, which an id may have
            index=$((index + 1))
        elif [[ $literal == 0 && $word == -- ]]; then
            literal=1
        elif [[ $literal == 0 && $word == -* ]]; then
            if [[ ${COMP_WORDS[index + 1]} == = ]]; then
                value=${COMP_WORDS[index + 2]} index=$((index + 2))
            elif [[ $_queuectl_with_value == *" $word "* ]]; then
                value=${COMP_WORDS[index + 1]} index=$((index + 1))
            fi
            [[ $word != --db && $word != --config ]] || database+=("$word" "$value")
        elif [[ -z $command || -n ${_queuectl_groups[$command]} || $command == help ]]; then
            command="${command:+$command }$word"
        else
            place=$((place + 1))
        fi
    done
}

# Words of a kind from the database that begin with $2, quoted for the line.
_queuectl_stored_words() {
    local word
    "${COMP_WORDS[0]}" "${database[@]}" complete "$1" "$2" 2>/dev/null |
        while IFS= read -r word; do printf '%q\n' "$word"; done
}

# _queuectl_offer KIND PREFIX: sets COMPREPLY to the words of a kind that begin with the prefix.
_queuectl_offer() {
    case $1 in
        none) ;;
        files) compopt -o default 2>/dev/null ;;
        directories) compopt -o dirnames 2>/dev/null ;;
        commands) mapfile -t COMPREPLY < <(compgen -c -- "$2") ;;
        jobs | live-jobs | dead-jobs | queues | stored)
            mapfile -t COMPREPLY < <(_queuectl_stored_words "$1" "$2")
            ;;
        *) _queuectl_choose "${_queuectl_lists[$1]}" "$2" ;;
    esac
}

_queuectl_choose() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2"); }

_queuectl_value() {
    local pair kind=none
    for pair in ${_queuectl_values[$command]:---db=files --config=files}; do
        [[ ${pair%%=*} != "$1" ]] || kind=${pair#*=}
    done
    _queuectl_offer "$kind" "$2"
}

_queuectl_argument() {
    local kind arguments
    read -ra arguments <<<"${_queuectl_arguments[$command]}"
    kind=${arguments[place]:-none}
    [[ $kind != none || ${arguments[-1]:-} != *... ]] || kind=${arguments[-1]}
    kind=${kind%...}
    [[ $kind != commands || $place == 0 ]] || kind=files
    _queuectl_offer "$kind" "$1"
}

_queuectl() {
    local command='' place=0 literal=0 database=() option=''
    local own=${COMP_WORDS[COMP_CWORD]} start=$COMP_CWORD line=${COMP_LINE:0:COMP_POINT} current
    local joined=$own
    # The word at the cursor, which bash may have broken into several at = and :
    current=${line##*[[:space:]]}
    while [[ $joined != "$current" && $current == *"$joined" && $start -gt 1 ]]; do
        start=$((start - 1)) joined=${COMP_WORDS[start]}$joined
    done
    [[ $joined == "$current" ]] || current=$own start=$COMP_CWORD
    [[ $own != [=:] ]] || own=
    COMPREPLY=()
    _queuectl_scan "$start"
    [[ ${COMP_WORDS[0]##*/} != queued ]] || command=queued
    if [[ $literal == 0 && $current == --*=* ]]; then
        option=${current%%=*} current=${current#*=}
    elif [[ $_queuectl_with_value == *" ${COMP_WORDS[start - 1]} "* ]]; then
        option=${COMP_WORDS[start - 1]}
    fi
    if [[ $literal == 0 && -n $option ]]; then
        _queuectl_value "$option" "$current"
        [[ $own != --*=* ]] || COMPREPLY=("${COMPREPLY[@]/#/$option=}") own=$current
    elif [[ $literal == 0 && $current == -* ]]; then
        _queuectl_choose "${_queuectl_options[$command]:---db --config --json --help --version}" "$current"
    elif [[ -z $command || $command == help ]]; then
        _queuectl_choose "$_queuectl_commands" "$current"
    elif [[ -n ${_queuectl_groups[${command#help }]} ]]; then
        _queuectl_choose "${_queuectl_groups[${command#help }]}" "$current"
    else
        _queuectl_argument "$current"
    fi
    # bash replaces only the part of the word that it calls its own.
    COMPREPLY=("${COMPREPLY[@]#"${current:0:$((${#current} - ${#own}))}"}")
}

complete -F _queuectl queuectl queued
