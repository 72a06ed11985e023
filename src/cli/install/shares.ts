import { packageVersion } from '../../control/version.ts';
import type { CommandInfo } from '../command-tree.ts';
import { completionScript } from '../completion/script.ts';
import { manPages } from '../man/page.ts';
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

/** The manual pages where man looks. npm links only the first of them. */
export function manPlan({ system, data }: Place, tree: CommandInfo): Plan {
  const folder = `${system ? '/usr/local/share' : data}/man/man1`;
  // Without a date, they are the same on every day.
  const pages = Array.from(manPages(tree, packageVersion(), ''));
  return {
    files: pages.map(([name, content]) => ({ path: `${folder}/${name}`, content })),
    next: ['man tapdeck-run'],
  };
}
