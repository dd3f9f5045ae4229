# Shell functions for postInstall, which turn the units that the package ships into units that go with
# the service that nix-processmgmt has generated. So there is one list of hardening directives, in
# systemd-units/.
{ package }:

''
  shipped=${package}/lib/systemd/system
  units=$out/etc/systemd/system
  unit=$(basename $units/*.service .service)

  # drop_in FROM [SED-ARGUMENT...]: what a shipped service says, except for its command and its
  # settings, which the generated service has.
  drop_in() {
      local from=$1
      shift
      mkdir -p "$units/$unit.service.d"
      sed -e '/^ExecStart=/d' -e '/^Environment=/d' "$@" "$shipped/$from" \
          > "$units/$unit.service.d/50-$from.conf"
  }

  # socket FROM TO [SED-ARGUMENT...]: a shipped socket under another name.
  socket() {
      local from=$1 to=$2
      shift 2
      sed "$@" "$shipped/$from" > "$units/$to"
  }
''
