# A unit nix-process-NAME.service.
common: process:

let
  inherit (common) lib;
  inherit (process) initialize directory umask nice user pidFile daemon daemonArgs foregroundProcess foregroundProcessArgs;

  generated = {
    inherit (process) name path environment dependencies credentials postInstall;
    Unit.Description = process.description;
    Service =
      (
        if foregroundProcess != null then
          {
            Type = "simple";
            ExecStart = "${foregroundProcess} ${lib.escapeShellArgs foregroundProcessArgs}";
          }
        else
          {
            Type = "forking";
            ExecStart = "${daemon} ${lib.escapeShellArgs daemonArgs}";
          }
          // lib.optionalAttrs (pidFile != null) { PIDFile = pidFile; }
      )
      // lib.optionalAttrs (initialize != "") {
        ExecStartPre = "${lib.optionalString (user != null) "+"}${common.script "${process.name}-prestart" initialize}";
      }
      // lib.optionalAttrs (directory != null) { WorkingDirectory = directory; }
      // lib.optionalAttrs (umask != null) { UMask = umask; }
      // lib.optionalAttrs (nice != null) { Nice = nice; }
      // lib.optionalAttrs (user != null) { User = user; };
  };

  given = process.override generated;
  inherit (given) name;

  # Everything else is a section of the unit.
  sections = removeAttrs given [ "name" "path" "environment" "dependencies" "credentials" "postInstall" ];

  unitsOf = map (dependency: "${dependency.name}.service") given.dependencies;
  extra = {
    Unit = lib.optionals (unitsOf != [ ]) [ "Wants=${toString unitsOf}" "After=${toString unitsOf}" ];
    Service = lib.mapAttrsToList (variable: value: "Environment=${variable}=${toString value}") (
      common.withPath (common.basePackages ++ given.path) given.environment
    );
  };

  unwanted = lib.optionals common.forceDisableUserChange [ "User" "Group" ];

  section =
    title: properties:
    "[${title}]\n"
    + lib.concatMapStrings (line: "${line}\n") (
      lib.mapAttrsToList (property: value: "${property}=${toString value}") (removeAttrs properties unwanted)
      ++ extra.${title} or [ ]
    )
    + "\n";

  unit = common.writeTextFile {
    name = "${name}.service";
    text = lib.concatStrings (lib.mapAttrsToList section ({ Unit = { }; Service = { }; } // sections));
  };
in
common.managed
  {
    name = "nix-process-${name}";
    inherit (given) credentials postInstall;
  }
  ''
    units=$out/etc/systemd/system
    mkdir -p $units
    ln -s ${unit} $units/nix-process-${name}.service
    ${lib.concatMapStrings (dependency: ''
      mkdir -p $units/nix-process-${name}.service.wants
      ln -s ${dependency}/etc/systemd/system/${dependency.name}.service $units/nix-process-${name}.service.wants
    '') given.dependencies}
  ''
