# What the models of deployment/ and deployment-simple/ share.
{ callPackage }:

{
  disnix-proxy-example = callPackage ../package.nix { };

  parameters = callPackage ./parameters.nix { };
  options = callPackage ./options.nix { };
  proxyOf = callPackage ./proxy-of.nix { };
  pidFileOf = callPackage ./pid-file-of.nix { };
  currentModules = callPackage ./current-modules.nix { };
  proxyWithRoute = callPackage ./proxy-with-route.nix { };
  processWrapper = callPackage ./process-wrapper.nix { };

  hello_world_client = callPackage ./client.nix { };
  hello_world_route = callPackage ./route.nix { };
}
