# The parameters of Cygwin's cygrunsrv, one a line.
common: process:

let
  inherit (common) lib;
  command = common.stayInForeground process;

  generated = {
    inherit (process) name credentials postInstall;
    path = lib.head command;
    args = lib.tail command;
    environment = common.withPath process.path process.environment;
  };

  given = process.override generated;

  parameters = common.writeTextFile {
    name = "nix-process-${given.name}-cygrunsrv-params";
    text = ''
      --path
      ${given.path}
      --disp
      nix-process-${given.name}
      --args
      ${lib.escapeShellArgs given.args}
    ''
    + lib.concatStrings (
      lib.mapAttrsToList (name: value: "--env\n'${name}=${toString value}'\n") given.environment
    );
  };
in
common.managed
  {
    inherit (given) name credentials postInstall;
  }
  ''
    ln -s ${parameters} $out/nix-process-${given.name}-cygrunsrvparams
  ''
