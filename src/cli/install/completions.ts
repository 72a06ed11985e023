import type { CommandInfo } from '../command-tree.ts';
import { completionScript } from '../completion/script.ts';
import type { Place, Plan } from './place.ts';

/** Completion where the shells look for it. */
export function completionPlan({ system, config, data }: Place, tree: CommandInfo): Plan {
  const share = system ? '/usr/local/share' : data;
  const zsh = `${share}/zsh/site-functions`;
  return {
    files: [
      { path: `${share}/bash-completion/completions/tapdeck`, content: completionScript('bash', tree) },
      { path: `${zsh}/_tapdeck`, content: completionScript('zsh', tree) },
      {
        path: system
          ? `${share}/fish/vendor_completions.d/tapdeck.fish`
          : `${config}/fish/completions/tapdeck.fish`,
        content: completionScript('fish', tree),
      },
    ],
    next: [
      'a new shell',
      // There is no folder of a user's where zsh would look.
      ...(system ? [] : [`for zsh, in ~/.zshrc in front of compinit: fpath+=(${zsh})`]),
    ],
  };
}
