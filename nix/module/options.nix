# Options that the proxies and the server share.
{ lib, pkgs }:

let
  inherit (lib) literalExpression mkOption types;
  own = import ./types.nix { inherit lib; };
in
{
  # With the overlay the package is in pkgs; otherwise it is built from this tree.
  mkPackageOption = lib.mkPackageOption (
    { disnix-proxy-example = pkgs.callPackage ../package.nix { }; } // pkgs
  ) "disnix-proxy-example" { };

  # An option of a program, set by an environment variable; null leaves it unset.
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

  # The environment of a program: nulls left out, booleans as yes and no, and each % doubled, which in a
  # unit starts a specifier.
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
        moment are reset; no other change does that.
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
