# The manifest of a deployment, from the three models, like disnix-manifest: a service has the same identity, the hash
# of its name, type, package and dependencies. It is JSON instead of XML, and without unused features (several systems,
# state, containers as services).
{ nixpkgs ? <nixpkgs>
, infrastructure
  # null: nothing is deployed any more
, services ? null
, distribution ? null
  # For the services model's parameters of these names
, extraParams ? { }
}:

let
  pkgs = import nixpkgs { };
  inherit (pkgs) lib;

  machines = import infrastructure;

  distributed = if distribution == null then { } else import distribution { infrastructure = machines; };

  # A list of machines, or { targets = [ { target = machine; container = …; } ]; }.
  references =
    mapping: type:
    map
      (entry: {
        # Machines are identified by their host names.
        target = lib.head (
          lib.filter (name: machines.${name}.properties.hostname == entry.target.properties.hostname) (lib.attrNames machines)
        );
        container = entry.container or type;
      })
      (if lib.isList mapping then map (target: { inherit target; }) mapping else mapping.targets);

  inverse = lib.mapAttrs (
    _: machine:
    machine
    // {
      services = lib.filterAttrs (
        name: _:
        let
          mapping = distributed.${name} or [ ];
        in
        lib.elem machine (if lib.isList mapping then mapping else map (entry: entry.target) mapping.targets)
      ) model;
    }
  ) machines;

  model =
    if services == null then
      { }
    else
      let
        function = import services;
      in
      function (
        {
          inherit pkgs;
          system = builtins.currentSystem;
          distribution = distributed;
          invDistribution = inverse;
        }
        // builtins.intersectAttrs (builtins.functionArgs function) extraParams
      );

  placesOf = service: references (distributed.${service.name} or [ ]) service.type;

  # The arguments of a package function: the dependencies of the service.
  dependenciesOf =
    service:
    lib.mapAttrs (
      _: dependency:
      let
        below = dependenciesOf dependency;
        targets = map (
          place:
          removeAttrs machines.${place.target} [ "containers" ]
          // {
            selectedContainer = place.container;
            container = machines.${place.target}.containers.${place.container};
          }
        ) (placesOf dependency);
      in
      removeAttrs dependency [ "activatesAfter" "connectsTo" "dependsOn" ]
      // {
        inherit targets;
        target = lib.head targets;
      }
      // lib.optionalAttrs (below != { }) { connectsTo = below; }
    ) (service.connectsTo or { } // service.dependsOn or { });

  packageOf =
    service:
    let
      dependencies = dependenciesOf service;
    in
    if dependencies == { } then service.pkg else service.pkg dependencies;

  entryOf = service: {
    inherit (service) name type;
    pkg = (packageOf service).outPath;
    dependsOn = lib.concatMap (dependency: map (place: place // { service = identityOf dependency; }) (placesOf dependency)) (
      lib.attrValues (service.activatesAfter or { } // service.dependsOn or { })
    );
  };

  identityOf =
    service: builtins.unsafeDiscardStringContext (builtins.hashString "sha256" (builtins.toJSON (entryOf service)));

  deployed = lib.filter (service: placesOf service != [ ]) (lib.attrValues model);

  # Packages are only copied.
  activated = lib.filter (service: service.type != "package") deployed;

  mappings = lib.concatMap (service: map (place: place // { service = identityOf service; }) (placesOf service)) activated;

  # The profile of a machine: TYPE CONTAINER PACKAGE of each service, and all packages.
  profileOf =
    target:
    let
      here = service: lib.any (place: place.target == target) (placesOf service);
      lines = map (
        service:
        lib.concatMapStrings (place: "${service.type} ${place.container} ${packageOf service}\n") (
          lib.filter (place: place.target == target) (placesOf service)
        )
      ) (lib.sort (a: b: identityOf a < identityOf b) (lib.filter here activated));
    in
    pkgs.runCommand target
      {
        services = lib.concatStrings lines;
        packages = map packageOf (lib.filter here deployed);
      }
      ''
        mkdir -p $out/bin
        printf %s "$services" > $out/services
        printf '%s\n' $packages > $out/packages
        # Programs for users. Two packages may have a program of the same name.
        for package in $packages
        do
            for program in $package/bin/*
            do
                ln -sf $program $out/bin/
            done
        done
      '';
in
pkgs.writeText "manifest.json" (
  builtins.toJSON {
    targets = lib.mapAttrs (_: machine: { inherit (machine.properties) hostname; inherit (machine) containers; }) machines;
    profiles = lib.mapAttrs (target: _: "${profileOf target}") machines;
    services = lib.listToAttrs (
      map (service: {
        name = identityOf service;
        value = entryOf service;
      }) activated
    );
    inherit mappings;
  }
)
