# fish completion for pesto.  Made from src/runtime/pesto/options.ts by scripts/completions.ts; do not edit.

complete -c pesto -F
complete -c pesto -s A -l add -d 'The specifications that follow are added to what is there'
complete -c pesto -s D -l delete -d 'Those that follow are deleted'
complete -c pesto -s C -l clear -x -a 'HOST SPLICE' -d 'Empty this table: HOST (-t, -u) or SPLICE (-T, -U)'
complete -c pesto -s t -l tcp-ports -x -a 'none auto all' -d 'TCP ports that lead to the guest, as passt(1) says; may be given again.'
complete -c pesto -s u -l udp-ports -x -a 'none auto all' -d 'The same for UDP'
complete -c pesto -s T -l tcp-ns -x -a 'none auto all' -d 'TCP ports that lead from the namespace to the host, with pasta.'
complete -c pesto -s U -l udp-ns -x -a 'none auto all' -d 'The same for UDP'
complete -c pesto -s s -l show -d 'Show rules before and after the change'
complete -c pesto -s d -l debug -d 'Say what is done'
complete -c pesto -s h -l help -d ''
complete -c pesto -l version -d ''
