{
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
}
