# The options of NixOS that the module of this project sets, and how NixOS writes units: what a
# configuration becomes in /etc/systemd/system. After nixos/lib/systemd-lib.nix.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkOption types;

  option = type: default: mkOption { inherit type default; };
  strings = option (types.listOf types.str) [ ];

  # A value in a section: a list is a setting that is repeated, and lists are joined.
  setting = lib.mkOptionType {
    name = "systemd option";
    merge =
      location: definitions:
      if builtins.isList (lib.head definitions).value then
        lib.concatLists (lib.catAttrs "value" definitions)
      else
        lib.mergeEqualOption location definitions;
  };
  section = option (types.attrsOf setting) { };

  common = {
    description = option types.singleLineStr "";
    wantedBy = strings;
    after = strings;
    unitConfig = section;
  };

  service.options = common // {
    stopIfChanged = option types.bool true;
    path = option (types.listOf types.unspecified) [ ];
    environment = option (types.attrsOf (
      types.nullOr (
        types.oneOf [
          types.str
          types.path
          types.package
        ]
      )
    )) { };
    serviceConfig = section;
  };

  socket.options = common // {
    listenStreams = strings;
    socketConfig = section;
  };

  unit.options = {
    text = option (types.nullOr types.str) null;
    wantedBy = strings;
  };

  text = value: if value == true then "true" else if value == false then "false" else toString value;
  lines = name: values: map (value: "${name}=${text value}") (lib.toList values);
  sectionLines = settings: lib.concatLists (lib.mapAttrsToList lines settings);

  unitLines =
    definition:
    [ "[Unit]" ]
    ++ sectionLines definition.unitConfig
    ++ lib.optional (definition.description != "") "Description=${definition.description}"
    ++ lib.optional (definition.after != [ ]) "After=${toString definition.after}";

  serviceLines =
    definition:
    let
      environment = config.systemd.globalEnvironment // { PATH = path; } // definition.environment;
      path = if definition.path == [ ] then null else lib.makeBinPath definition.path;
      given = lib.filterAttrs (_: value: value != null) environment;
    in
    [ "[Service]" ]
    ++ lib.mapAttrsToList (name: value: "Environment=${builtins.toJSON "${name}=${value}"}") given
    ++ lib.optional (!definition.stopIfChanged) "X-StopIfChanged=false"
    ++ sectionLines definition.serviceConfig;

  socketLines =
    definition:
    [ "[Socket]" ]
    ++ sectionLines definition.socketConfig
    ++ lines "ListenStream" definition.listenStreams;

  render = specific: definition: {
    inherit (definition) wantedBy;
    text = lib.concatLines (unitLines definition ++ specific definition);
  };

  renderAll =
    suffix: specific:
    lib.mapAttrs' (name: definition: lib.nameValuePair "${name}${suffix}" (render specific definition));
in
{
  options = {
    assertions = option (types.listOf types.unspecified) [ ];
    environment.systemPackages = option (types.listOf types.package) [ ];
    networking.firewall.allowedTCPPorts = option (types.listOf types.port) [ ];
    # Set by tests in virtual machines, and ignored here.
    specialisation = option types.unspecified { };
    users.users = option types.unspecified { };

    users.groups = option (types.attrsOf (types.submodule {
      options.members = strings;
    })) { };

    systemd = {
      package = option types.package pkgs.systemd;
      packages = option (types.listOf types.package) [ ];
      globalEnvironment = option (types.attrsOf types.str) { };
      services = option (types.attrsOf (types.submodule service)) { };
      sockets = option (types.attrsOf (types.submodule socket)) { };
      units = option (types.attrsOf (types.submodule unit)) { };
    };
  };

  config.systemd = {
    # Paths of packages, as on every NixOS; the module must keep them out of its services.
    globalEnvironment = {
      LOCALE_ARCHIVE = "${pkgs.coreutils}/lib/locale/locale-archive";
      TZDIR = "${pkgs.coreutils}/share/zoneinfo";
    };
    units = lib.mkMerge [
      (renderAll ".service" serviceLines config.systemd.services)
      (renderAll ".socket" socketLines config.systemd.sockets)
    ];
  };
}
