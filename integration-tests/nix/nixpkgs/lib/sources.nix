{ strings }:

rec {
  cleanSourceWith =
    { src
    , filter ? _: _: true
    , name ? "source"
    }:
    let
      from = src.origSrc or src;
      also = src.filter or (_: _: true);
      wanted = path: type: also path type && filter path type;
    in
    {
      origSrc = from;
      filter = wanted;
      outPath = builtins.path { inherit name; path = from; filter = wanted; };
    };

  cleanSourceFilter =
    path: type:
    let
      name = baseNameOf (toString path);
    in
    !(type == "directory" && name == ".git") && !(type == "symlink" && strings.hasPrefix "result" name);

  cleanSource = src: cleanSourceWith { inherit src; filter = cleanSourceFilter; };
}
