# The machines of the proxy and its route in the distribution model.
{ lib, distribution }:

let
  # A list of machines, or { targets = [ { target = machine; container = …; } ]; }.
  machines =
    name:
    let
      mapping = distribution.${name} or [ ];
    in
    if builtins.isList mapping then mapping else map (entry: entry.target) mapping.targets;

  all = here: there: lib.all (machine: builtins.elem machine there) here;
  proxy = machines "disnix_tcp_proxy";
  route = machines "hello_world_route";
in
rec {
  # Whether the route is a service of its own, or part of the proxy.
  # disnix-gendist-roundrobin evaluates the services before there is a distribution.
  hasRoute = distribution == null || route != [ ];

  # The services that are distributed, or an error: hello_world_route calls the proxy over its control
  # socket, so it must be on the proxy's machine.
  check =
    services:
    if distribution == null then
      services
    else if proxy == [ ] then
      throw "The distribution model has no machine for disnix_tcp_proxy: take distribution-with-proxy.nix, or services-without-proxy.nix."
    else if !hasRoute then
      removeAttrs services [ "hello_world_route" ]
    else if all proxy route && all route proxy then
      services
    else
      throw "The distribution model must put hello_world_route on the same machines as disnix_tcp_proxy: it is the route that locks the proxy and tells it where the server is.";
}
