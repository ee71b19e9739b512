# fish completion for passt-ctl.  Made from src/runtime/ctl/options.ts by scripts/completions.ts; do not edit.

complete -c passt-ctl -f
complete -c passt-ctl -n 'test (count (commandline -opc)) -eq 1' -l help
complete -c passt-ctl -n 'test (count (commandline -opc)) -eq 1' -l version
complete -c passt-ctl -n 'test (count (commandline -opc)) -eq 1' -a status -d 'what runs, and with what addresses'
complete -c passt-ctl -n 'test (count (commandline -opc)) -eq 1' -a flows -d 'connections and other flows, both sides of each'
complete -c passt-ctl -n 'test (count (commandline -opc)) -eq 1' -a rules -d 'port forwarding, and how many flows each rule has'
complete -c passt-ctl -n 'test (count (commandline -opc)) -eq 1' -a counters -d 'what was dropped and why, and other events'
complete -c passt-ctl -n 'test (count (commandline -opc)) -eq 1' -a metrics -d 'the same as OpenMetrics text'
complete -c passt-ctl -n 'test (count (commandline -opc)) -eq 1' -a top -d 'flows by traffic, anew each second'
complete -c passt-ctl -n 'test (count (commandline -opc)) -eq 1' -a record -d 'whether the run is recorded; on: begin anew, off: end'
complete -c passt-ctl -n 'test (count (commandline -opc)) -eq 1' -a events -d 'flows as they begin and end, until it is interrupted'
complete -c passt-ctl -n 'test (count (commandline -opc)) -eq 1' -a trace -d 'what flows do, or packets, in the log, for an hour at most'
complete -c passt-ctl -n 'test (count (commandline -opc)) -eq 1' -a web -d 'a page of it that is kept up to date, for a browser on this host'
complete -c passt-ctl -n 'test (count (commandline -opc)) -eq 2' -F
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = status' -l json
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = flows' -a 'kind=tcp kind=udp kind=ping kind=tcp-splice kind=udp-splice'
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = flows' -a 'state='
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = flows' -a 'port='
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = flows' -a 'address='
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = flows' -l json
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -eq 2; and test "$w[2]" = rules' -a 'add delete'
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -eq 3; and test "$w[2]" = rules; and contains -- "$w[3]" add delete' -F
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 4; and test "$w[2]" = rules; and test "$w[3]" = add' -s t -x
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 4; and test "$w[2]" = rules; and test "$w[3]" = add' -s u -x
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 4; and test "$w[2]" = rules; and test "$w[3]" = add' -s T -x
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 4; and test "$w[2]" = rules; and test "$w[3]" = add' -s U -x
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = rules; and not contains -- "$w[3]" add delete' -l json
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = counters' -l json
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = top' -a 'kind=tcp kind=udp kind=ping kind=tcp-splice kind=udp-splice'
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = top' -a 'state='
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = top' -a 'port='
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = top' -a 'address='
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = record' -a 'on'
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = record' -a 'off'
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = record' -l json
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = events' -a 'kind=tcp kind=udp kind=ping kind=tcp-splice kind=udp-splice'
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = events' -a 'state='
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = events' -a 'port='
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = events' -a 'address='
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = events' -l json
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = trace' -a 'off'
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = trace' -a 'flows'
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = trace' -a 'packets'
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = trace' -a 'flow='
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = trace' -a 'port='
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = trace' -a 'address='
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = trace' -l json
complete -c passt-ctl -n 'set -l w (commandline -opc); test (count $w) -ge 3; and test "$w[2]" = web' -l port -x
