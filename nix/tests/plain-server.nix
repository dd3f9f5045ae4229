# A service without socket activation, as most are: hello-world-server on port 5000.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  package = pkgs.callPackage ../package.nix { };
in
{
  options.plainServer.greeting = lib.mkOption {
    type = lib.types.str;
    default = "Hello world!";
  };

  config = {
    environment.systemPackages = [ package ];
    systemd.services.hello = {
      wantedBy = [ "multi-user.target" ];
      environment.HELLO_WORLD_SERVER_GREETING = config.plainServer.greeting;
      serviceConfig = {
        Type = "notify";
        ExecStart = "${package}/bin/hello-world-server 5000";
        DynamicUser = true;
      };
    };
  };
}
