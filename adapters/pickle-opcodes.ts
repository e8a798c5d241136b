// The names that Python's pickletools gives the opcodes which are not read here, so that a refusal can be looked up.

/** Opcode -> name. */
export const REFUSED_OPCODES: ReadonlyMap<number, string> = new Map(
  (
    [
      ['I', 'INT'],
      ['L', 'LONG'],
      ['F', 'FLOAT'],
      ['S', 'STRING'],
      ['V', 'UNICODE'],
      ['B', 'BINBYTES'],
      ['C', 'SHORT_BINBYTES'],
      ['l', 'LIST'],
      ['d', 'DICT'],
      ['g', 'GET'],
      ['p', 'PUT'],
      ['2', 'DUP'],
      ['P', 'PERSID'],
      ['i', 'INST'],
      ['o', 'OBJ'],
      ['\x81', 'NEWOBJ'],
      ['\x82', 'EXT1'],
      ['\x83', 'EXT2'],
      ['\x84', 'EXT4'],
      ['\x8d', 'BINUNICODE8'],
      ['\x8e', 'BINBYTES8'],
      ['\x8f', 'EMPTY_SET'],
      ['\x90', 'ADDITEMS'],
      ['\x91', 'FROZENSET'],
      ['\x92', 'NEWOBJ_EX'],
      ['\x96', 'BYTEARRAY8'],
      ['\x97', 'NEXT_BUFFER'],
      ['\x98', 'READONLY_BUFFER'],
    ] as const
  ).map(([char, name]) => [char.charCodeAt(0), name]),
)
