rec {
  inherit (builtins)
    all
    any
    concatLists
    concatMap
    elem
    elemAt
    filter
    foldl'
    genList
    head
    isList
    length
    map
    sort
    tail
    ;

  optional = condition: element: if condition then [ element ] else [ ];
  optionals = condition: list: if condition then list else [ ];
  toList = value: if isList value then value else [ value ];
  range = first: last: if first > last then [ ] else genList (n: first + n) (last - first + 1);
  last = list: elemAt list (length list - 1);
  reverseList = list: genList (n: elemAt list (length list - n - 1)) (length list);
  foldr = function: initial: list: foldl' (result: element: function element result) initial (reverseList list);
  foldl = foldl';
  imap0 = function: list: genList (n: function n (elemAt list n)) (length list);
  unique = foldl' (found: element: if elem element found then found else found ++ [ element ]) [ ];
  remove = element: filter (other: other != element);
  intersectLists = wanted: filter (element: elem element wanted);
  subtractLists = unwanted: filter (element: !elem element unwanted);
  count = condition: list: length (filter condition list);
  take = n: list: genList (elemAt list) (if n < length list then n else length list);
  drop = n: list: genList (i: elemAt list (i + n)) (if n < length list then length list - n else 0);

  findFirst =
    condition: default: list:
    let
      found = filter condition list;
    in
    if found == [ ] then default else head found;
}
