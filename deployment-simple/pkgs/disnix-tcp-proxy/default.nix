{ daemonized, processWrapper, proxyOf }:

# Parameters: disnix_tcp_proxy in nix/disnix/parameters.nix.
given:

let
  inherit (proxyOf given) parameter instance control stateDirectory program arguments;
in
daemonized {
  name = "disnix-tcp-proxy-${instance}";
  inherit (parameter) port;
  directories = [ (dirOf control) stateDirectory ];
  command = [ program ] ++ arguments;
  wrapper = processWrapper {
    inherit (parameter) package lease;
    inherit control;
  };
}
