# What the proxies and the server share: the programs, the catalog, the addresses of the machine.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  inherit (config.services) disnix-tcp-proxy hello-world-server;
  addresses = import ./addresses.nix { inherit lib; };
  units = import ./units.nix { inherit lib pkgs; };

  instances = lib.filterAttrs (_: instance: instance.enable) disnix-tcp-proxy.instances;
  packages = lib.unique (
    lib.optional (instances != { }) disnix-tcp-proxy.package
    ++ lib.optional hello-world-server.enable hello-world-server.package
  );

  catalogs = pkgs.runCommand "journal-catalogs" { } ''
    mkdir $out
    ln -s ${config.systemd.package}/lib/systemd/catalog/* $out/
    ln -s ${builtins.head packages}/lib/systemd/catalog/* $out/
  '';

  sockets =
    lib.concatLists (
      lib.mapAttrsToList (
        name: instance:
        map (address: {
          owner = "services.disnix-tcp-proxy.instances.${name}";
          inherit address;
        }) (instance.listen ++ lib.optional (instance.health != null) instance.health)
      ) instances
    )
    ++ lib.optionals hello-world-server.enable (
      map (address: {
        owner = "services.hello-world-server";
        inherit address;
      }) hello-world-server.listen
    );
in
{
  config = lib.mkIf (packages != [ ]) {
    assertions = map (pair: {
      assertion = false;
      message = ''
        ${pair.a.owner} listens on ${toString pair.a.address} and ${pair.b.owner} on ${toString pair.b.address}:
        only one of them can. Give one of them another address or port.
      '';
    }) (addresses.conflicts sockets);

    # The client, disnix-tcp-proxyctl and the manual pages.
    environment.systemPackages = packages;

    # Explanations of events, for journalctl -x. NixOS has no option for a catalog: its systemd reads only its
    # own directory. Before systemd 254 the variable does nothing.
    systemd.services.disnix-tcp-proxy-catalog = {
      description = "Explanations of disnix-tcp-proxy for the journal";
      wantedBy = [ "multi-user.target" ];
      after = [ "systemd-journal-catalog-update.service" ];
      environment = units.plainEnvironment // {
        SYSTEMD_CATALOG_SOURCES = catalogs;
      };
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${config.systemd.package}/bin/journalctl --update-catalog";
      };
    };
  };
}
