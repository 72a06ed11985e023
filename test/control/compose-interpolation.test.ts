// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are what is tested
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseDotenv } from '../../src/control/compose/dotenv.ts';
import { interpolate } from '../../src/control/compose/interpolation.ts';
import { shellWords } from '../../src/control/compose/shell-words.ts';

const VALUES: Record<string, string> = { A: 'one', EMPTY: '', B: 'two' };

function expand(text: string, missing: string[] = []): string {
  return interpolate(text, { get: (name) => VALUES[name], missing: (name) => missing.push(name) });
}

describe('variables in a Compose file', () => {
  test.each([
    ['nothing', 'nothing'],
    ['$A', 'one'],
    ['${A}', 'one'],
    ['x$A.$B', 'xone.two'],
    ['${A}B', 'oneB'],
    ['$$A costs $$5', '$A costs $5'],
    ['$$$$', '$$'],
    ['${NONE:-default}', 'default'],
    ['${NONE-default}', 'default'],
    ['${EMPTY:-default}', 'default'],
    ['${EMPTY-default}', ''],
    ['${A:-default}', 'one'],
    ['${A:+other}', 'other'],
    ['${EMPTY:+other}', ''],
    ['${EMPTY+other}', 'other'],
    ['${NONE+other}', ''],
    ['${NONE:-${B:-x}}', 'two'],
    ['${NONE:-a$B}', 'atwo'],
    ['${NONE:-${NEITHER-$$}}', '$'],
    ['${A:?is needed}', 'one'],
    ['${EMPTY?is needed}', ''],
    ['${NONE:-}', ''],
    ['"{$A}"', '"{one}"'],
  ])('%s is %s', (text, result) => {
    expect(expand(text)).toBe(result);
  });

  test.each([
    ['$', 'is followed by no name of a variable'],
    ['50$ each', 'is followed by no name of a variable'],
    ['$5', 'is followed by no name of a variable'],
    ['${', 'is followed by no name of a variable'],
    ['${}', 'is followed by no name of a variable'],
    ['${A', 'is not one of'],
    ['${A B}', 'is not one of'],
    ['${A:b}', 'is not one of'],
    ['${NONE:-x', 'has no "}"'],
    ['${NONE:?}', 'variable NONE is required, and has no value'],
    ['${NONE:?set it}', 'variable NONE is required: set it'],
    ['${EMPTY:?set ${A}}', 'variable EMPTY is required: set one'],
  ])('%s is refused', (text, why) => {
    expect(() => expand(text)).toThrow(why);
  });

  test('names those that have no value and no default', () => {
    const missing: string[] = [];
    expect(expand('$NONE ${OTHER} ${THIRD:-3} $A $EMPTY', missing)).toBe('  3 one ');
    expect(missing).toEqual(['NONE', 'OTHER']);
  });

  test('any text comes through when its dollars are doubled, and never another error than ours', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(expand(text.replaceAll('$', '$$$$'))).toBe(text);
      }),
    );
    const pieces = fc.constantFrom('$', '{', '}', ':', '-', '?', '+', 'A', 'NONE', ' ');
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 12 }), (parts) => {
        const text = parts.join('');
        try {
          expand(text);
        } catch (error) {
          expect((error as Error).message).toMatch(/has a "\$" that is no variable|is required/);
        }
      }),
    );
  });

  test('a default counts exactly where there is no value', () => {
    const word = fc.stringMatching(/^[a-z ]*$/);
    fc.assert(
      fc.property(fc.option(word, { nil: undefined }), word, (value, other) => {
        const variables = { get: () => value, missing: () => {} };
        expect(interpolate(`\${X:-${other}}`, variables)).toBe(value || other);
        expect(interpolate(`\${X-${other}}`, variables)).toBe(value ?? other);
        expect(interpolate(`\${X:+${other}}`, variables)).toBe(value ? other : '');
        expect(interpolate(`\${X+${other}}`, variables)).toBe(value === undefined ? '' : other);
      }),
    );
  });
});

describe('an .env file', () => {
  test('has values with and without quotes, comments and variables', () => {
    const text = `# a comment
PLAIN=some words # and a comment
HASH=a#b
export EXPORTED = spaced
SINGLE='$A \\n "as it is" # no comment'   # comment
DOUBLE="two\\nlines $A \\"quoted\\""
EMPTY=
OTHER=\${SINGLE:+set} \${A}
HOME
NOT_SET
`;
    expect(parseDotenv(text, { A: 'outer', HOME: '/root' })).toEqual({
      PLAIN: 'some words',
      HASH: 'a#b',
      EXPORTED: 'spaced',
      SINGLE: '$A \\n "as it is" # no comment',
      DOUBLE: 'two\nlines outer "quoted"',
      EMPTY: '',
      OTHER: 'set outer',
      HOME: '/root',
    });
  });

  test.each([
    ['A=1\n=2\n', 'line 2'],
    ['A="open\n', 'line 1: a quote is not closed'],
    ['one two\n', 'line 1'],
    ['A=${B\n', 'line 1'],
  ])('%j is refused with its line', (text, why) => {
    expect(() => parseDotenv(text, {})).toThrow(why);
  });
});

describe('the words of a command', () => {
  test.each([
    ['python3 -m http.server 80', ['python3', '-m', 'http.server', '80']],
    [`sh -c 'echo "a  b" $X'`, ['sh', '-c', 'echo "a  b" $X']],
    [`a"b c"'d e'f`, ['ab cd ef']],
    [`"" '' x`, ['', '', 'x']],
    ['a\\ b \\" "\\"" \'\\\'', ['a b', '"', '"', '\\']],
    ['  spaced\tout\n ', ['spaced', 'out']],
    ['', []],
    ['* ~ $HOME | &', ['*', '~', '$HOME', '|', '&']],
  ])('%j', (text, words) => {
    expect(shellWords(text)).toEqual(words);
  });

  test('an open quote is refused', () => {
    expect(() => shellWords('echo "a')).toThrow('is not closed');
    expect(() => shellWords("it's")).toThrow('is not closed');
  });

  test('words that are quoted come through', () => {
    fc.assert(
      fc.property(fc.array(fc.string()), (words) => {
        const quoted = words.map((word) => `'${word.replaceAll("'", `'"'"'`)}'`);
        expect(shellWords(quoted.join(' '))).toEqual(words);
      }),
    );
  });
});
