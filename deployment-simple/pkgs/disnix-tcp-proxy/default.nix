{ daemonized, processWrapper, proxyOf }:

# Parameters: disnix_tcp_proxy in nix/disnix/parameters.nix.
given:

let
  inherit (proxyOf given) parameter instance control stateDirectory ports program arguments;
in
daemonized {
  name = "disnix-tcp-proxy-${instance}";
  inherit ports;
  directories = [ (dirOf control) stateDirectory ];
  command = [ program ] ++ arguments;
  wrapper = processWrapper {
    inherit (parameter) package lease;
    inherit control;
  };
}
