#compdef queuectl queued
# zsh completion for queuectl and queued; made from their usage texts.

@TABLES@

# Words of a kind, the last argument, from the database that the line names; what is before the kind
# are options for compadd.
_queuectl_stored_words() {
  local -a database found
  local index
  for ((index = 2; index <= $#_queuectl_words; index++)); do
    case $_queuectl_words[index] in
      --) break ;;
      --db|--config) database+=("$_queuectl_words[index]" "${(Q)_queuectl_words[index+1]}") ;;
      --db=*|--config=*) database+=("${(Q)_queuectl_words[index]}") ;;
    esac
  done
  found=("${(@f)$(_call_program words $_queuectl_words[1] ${(q)database} complete $@[-1] 2>/dev/null)}")
  found=(${found:#})
  compadd "${@[1,-2]}" -a found
}

# A command and its arguments, after --.
_queuectl_line() { _normal }

_queuectl() {
  local -a _queuectl_words=("${words[@]}")
  local curcontext="$curcontext" state line context
  typeset -A opt_args
  if [[ $service == queued ]]; then
    _queuectl_command queued
    return
  fi
  _arguments -C -A '-*' '--db=[the database]:WHERE:_files' '--config=[the conf file]:PATH:_files' \
    '--json[print the result as JSON]' '(- *)'{-h,--help}'[show how it is used]' \
    '(- *)--version[show the version]' '1: :_queuectl_in_top' '*:: :->rest' && return
  [[ $state == rest ]] || return
  local first=$words[1]
  if [[ $first == help ]]; then
    ((CURRENT == 2)) && _queuectl_in_top
  elif (( $+functions[_queuectl_in_$first] )); then
    if ((CURRENT == 2)); then
      _queuectl_in_$first
    else
      shift words
      ((CURRENT--))
      _queuectl_command "$first $words[1]"
    fi
  else
    _queuectl_command "$first"
  fi
}

_queuectl "$@"
