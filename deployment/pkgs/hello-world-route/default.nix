{ route, disnix-proxy-example }:

# Parameters: hello_world_route in nix/disnix/parameters.nix.
given: route ({ package = disnix-proxy-example; } // given)
