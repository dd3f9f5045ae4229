# mkDerivation, with attributes or with a function of the final attributes, and overrideAttrs.
{ lib, system, shell, initialPath }:

let
  # Attributes of the package that its builder does not get
  aside = [ "meta" "passthru" "env" "pos" ];

  derive =
    attributes:
    derivation (
      {
        inherit system shell;
        builder = shell;
        args = [ "-e" ./builder.sh ];
        setup = ./setup.sh;
        initialPath = map (package: "${package}/bin") initialPath;
      }
      // removeAttrs attributes aside
      // attributes.env or { }
      // {
        name = attributes.name or "${attributes.pname}-${attributes.version}";
        # A command may be too long for the environment.
        passAsFile = attributes.passAsFile or [ ] ++ lib.optional (attributes ? buildCommand) "buildCommand";
      }
    );

  make =
    function:
    let
      attributes = function (attributes // { inherit finalPackage; });
      derived = derive attributes;
      passthru = attributes.passthru or { };
      finalPackage =
        derived
        // passthru
        // {
          meta = attributes.meta or { };
          inherit passthru;
          overrideAttrs =
            changed:
            make (
              final:
              let
                previous = function final;
              in
              # Of one argument, the previous attributes, or of two.
              previous
              // (
                if !builtins.isFunction changed then
                  changed
                else if builtins.isFunction (changed previous) then
                  changed final previous
                else
                  changed previous
              )
            );
        };
    in
    finalPackage;
in
argument: make (if builtins.isFunction argument then argument else _: argument)
