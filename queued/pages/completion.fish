# fish completion for queuectl and queued; made from their usage texts.

@TABLES@

# The words of the line before the cursor that are no options: the command's, then its arguments.
function __queuectl_plain
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if test "$word" = --
            return
        else if contains -- $word $__queuectl_with_value
            set skip 1
        else if not string match -q -- '-*' $word
            echo $word
        end
    end
end

# Whether the line has come to this command; "" is the place of the command itself.
function __queuectl_at
    set -l plain (__queuectl_plain)
    set -l count 1
    if test (count $plain) -gt 1; and contains -- $plain[1] $__queuectl_groups
        set count 2
    end
    test "$plain[1..$count]" = "$argv[1]"
end

# Words of a kind from the database that the line names.
function __queuectl_stored_words
    set -l words (commandline -opc)
    set -l database
    for index in (seq 2 (count $words))
        switch $words[$index]
            case --
                break
            case --db --config
                set -l value (math $index + 1)
                set -a database $words[$index] $words[$value]
            case '--db=*' '--config=*'
                set -a database $words[$index]
        end
    end
    set -l prefix (string replace -r -- '^--[\w-]+=' '' (commandline -ct))
    command $words[1] $database complete $argv[1] "$prefix" 2>/dev/null
end

complete -c queuectl -f
complete -c queued -f
complete -c queuectl -n '__queuectl_at help' -a "$__queuectl_commands"
complete -c queuectl -n '__queuectl_at ""' -l db -r -F -d 'the database'
complete -c queuectl -n '__queuectl_at ""' -l config -r -F -d 'the conf file'
complete -c queuectl -n '__queuectl_at ""' -l json -d 'print the result as JSON'
complete -c queuectl -n '__queuectl_at ""' -s h -l help -d 'show how it is used'
complete -c queuectl -n '__queuectl_at ""' -l version -d 'show the version'
