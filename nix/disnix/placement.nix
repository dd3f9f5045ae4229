# hello_world_route calls the proxy over its control socket, so it must be where the proxy is.
# Returns `services` if the distribution has it so, and fails with a sentence otherwise.
{ lib, distribution }:

services:
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
# disnix-gendist-roundrobin wants to see the services before there is a distribution.
if distribution == null then
  services
else if proxy == [ ] then
  throw "The distribution model has no machine for disnix_tcp_proxy: take distribution-with-proxy.nix, or services-without-proxy.nix."
else if all proxy route && all route proxy then
  services
else
  throw "The distribution model must put hello_world_route on the same machines as disnix_tcp_proxy: it is the route that locks the proxy and tells it where the server is."
