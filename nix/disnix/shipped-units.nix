# Shell functions for postInstall that derive units from the shipped ones, to accompany the service that
# nix-processmgmt generates. So there is one list of hardening directives, in systemd-units/.
{ package }:

''
  shipped=${package}/lib/systemd/system
  units=$out/etc/systemd/system
  unit=$(basename $units/*.service .service)

  # edit FILE [PATTERN COMMAND]...: runs a command of sed(1) on the lines that match a pattern. If none
  # does, the shipped unit has changed, which is an error.
  edit() {
      local file=$1
      shift
      while [ $# -gt 0 ]
      do
          if ! grep -q -e "$1" "$file"
          then
              echo "$file: no line matches $1" >&2
              exit 1
          fi
          sed -i -e "/$1/$2" "$file"
          shift 2
      done
  }

  # The module `systemd-unit` allows one service in a component, so there is none for the pause after a
  # failure, and its settings are left out.
  without_pause=('^# One that cannot be started' d '^# What systemd itself finds' d '-pause' d '^OnFailureJobMode=' d '^RestartPreventExitStatus=' d)
  without_limit=('^# If it had to be closed' d '-pause' d '^TriggerLimitIntervalSec=' 's/=.*/=0/' '^TriggerLimitBurst=' d)

  # drop_in FROM [PATTERN COMMAND]...: a shipped service as a drop-in, without its command and its idle time,
  # which the generated service has.
  drop_in() {
      local from=$1
      shift
      mkdir -p "$units/$unit.service.d"
      cat "$shipped/$from" > "$units/$unit.service.d/50-$from.conf"
      edit "$units/$unit.service.d/50-$from.conf" '^ExecStart=' d '^Environment=.*_EXIT_IDLE_TIME=' d "''${without_pause[@]}" "$@"
  }

  # socket FROM TO [PATTERN COMMAND]...: a shipped socket under another name.
  socket() {
      local from=$1 to=$2
      shift 2
      cat "$shipped/$from" > "$units/$to"
      edit "$units/$to" "''${without_limit[@]}" "$@"
  }
''
