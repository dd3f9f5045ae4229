# A Dysnomia for tests. DYSNOMIA=PATH in the environment takes a real one.
{ runCommand }:

runCommand "dysnomia" { } ''
  mkdir -p $out/libexec
  ln -s ${if builtins.getEnv "DYSNOMIA" != "" then builtins.getEnv "DYSNOMIA" else "/usr"}/libexec/dysnomia $out/libexec/dysnomia
''
