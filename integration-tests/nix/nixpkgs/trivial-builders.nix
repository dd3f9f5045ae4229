# Packages made of a text, a script, a command or other packages.
{ lib, stdenv }:

let
  self = {
    runCommand =
      name: attributes: buildCommand:
      stdenv.mkDerivation ({ inherit name buildCommand; } // attributes);

    writeTextFile =
      { name
      , text
      , executable ? false
      , destination ? ""
      , checkPhase ? ""
      , meta ? { }
      }:
      stdenv.mkDerivation {
        inherit name text meta;
        passAsFile = [ "text" ];
        buildCommand = ''
          target=$out${destination}
          mkdir -p "$(dirname "$target")"
          cp "$textPath" "$target"
          ${lib.optionalString executable ''chmod +x "$target"''}
          ${checkPhase}
        '';
      };

    writeText = name: text: self.writeTextFile { inherit name text; };
    writeScript = name: text: self.writeTextFile { inherit name text; executable = true; };
    writeScriptBin = name: text: self.writeTextFile { inherit name text; executable = true; destination = "/bin/${name}"; };
    writeShellScript = name: text: self.writeScript name "#!${stdenv.shell}\n${text}";

    # Directories are merged; of two files with the same path the first one wins.
    buildEnv =
      { name
      , paths
      , pathsToLink ? [ "/" ]
      , postBuild ? ""
      , ignoreCollisions ? false
      , ...
      }:
      self.runCommand name { } ''
        mkdir -p $out
        for path in ${toString paths}
        do
            for part in ${toString pathsToLink}
            do
                if [ -d "$path$part" ]
                then
                    mkdir -p "$out$part"
                    cp --recursive --symbolic-link --no-clobber --dereference "$path$part/." "$out$part"
                    find "$out" -type d -exec chmod u+w {} +
                fi
            done
        done
        ${postBuild}
      '';

    linkFarm =
      name: entries:
      let
        list = if builtins.isAttrs entries then lib.mapAttrsToList (name: path: { inherit name path; }) entries else entries;
      in
      self.runCommand name { } (
        ''
          mkdir -p $out
        ''
        + lib.concatMapStrings (entry: ''
          mkdir -p "$out/$(dirname ${lib.escapeShellArg entry.name})"
          ln -s ${entry.path} $out/${lib.escapeShellArg entry.name}
        '') list
      );

    fetchurl = import <nix/fetchurl.nix>;

    makeSetupHook =
      { name, ... }:
      script:
      self.runCommand name { } ''
        mkdir -p $out/nix-support
        cp ${script} $out/nix-support/setup-hook
      '';

    installShellFiles = self.makeSetupHook { name = "install-shell-files"; } ./install-shell-files.sh;

    mkShell =
      { name ? "shell"
      , packages ? [ ]
      , inputsFrom ? [ ]
      , nativeBuildInputs ? [ ]
      , ...
      }@attributes:
      self.runCommand name (
        {
          nativeBuildInputs = nativeBuildInputs ++ packages ++ lib.concatMap (package: package.nativeBuildInputs or [ ]) inputsFrom;
        }
        // removeAttrs attributes [ "name" "packages" "inputsFrom" "nativeBuildInputs" ]
      ) "echo $nativeBuildInputs > $out";
  };
in
self
