# Options that the proxies and the server have in common.
{ lib, pkgs }:

let
  inherit (lib) literalExpression mkOption types;
  own = import ./types.nix { inherit lib; };
in
{
  # With the overlay the package is in pkgs; without it, it is built from this tree.
  mkPackageOption = lib.mkPackageOption (
    { disnix-proxy-example = pkgs.callPackage ../package.nix { }; } // pkgs
  ) "disnix-proxy-example" { };

  # An option of a program: it is set by an environment variable, and null leaves it alone.
  mkProgramOption =
    type: description: example:
    mkOption {
      type = types.nullOr type;
      default = null;
      inherit description example;
    };

  logLevel = types.enum [
    "error"
    "warn"
    "info"
    "debug"
    "trace"
  ];

  # The environment of a program: without what is null, with yes and no, and with % doubled, which in a
  # unit would begin a specifier.
  variables =
    let
      word = value: if builtins.isBool value then (if value then "yes" else "no") else toString value;
    in
    options:
    lib.mapAttrs (_: value: lib.replaceStrings [ "%" ] [ "%%" ] (word value)) (
      lib.filterAttrs (_: value: value != null) options
    );

  mkListenOption =
    default: example:
    mkOption {
      type = types.listOf own.listenAddress;
      inherit default;
      example = literalExpression example;
      description = ''
        Where clients arrive. A port alone is that port on every address of the machine, IPv4 and IPv6.

        A change of this option closes the sockets and opens them again. Clients that wait at that
        moment are cut off; no other change does that.
      '';
    };

  mkOpenFirewallOption = mkOption {
    type = types.bool;
    default = false;
    description = ''
      Open the ports of {option}`listen` in the firewall, except those of loopback addresses.
    '';
  };
}
