import { withoutPermalink } from '../commands/arguments.ts';

/** Whether a formatted body holds what its plain body has lost: the id behind a pill. */
export function hasPills(formattedBody: unknown): formattedBody is string {
  return typeof formattedBody === 'string' && formattedBody.includes('https://matrix.to/#/');
}

/** The text of a formatted body with ids in place of pills, and code blocks in fences. */
export async function textOfPills(formattedBody: string): Promise<string> {
  // Loaded at the first pill: most commands have none.
  const { convert } = await import('html-to-text');
  return convert(formattedBody, {
    wordwrap: false,
    preserveNewlines: true,
    formatters: {
      pill: (element, walk, builder) => {
        const href = (element.attribs as Record<string, string>)['href'] ?? '';
        const id = withoutPermalink(href);
        if (id === href) walk(element.children, builder);
        else builder.addInline(id, { noWordTransform: true });
      },
      fence: (element, walk, builder) => {
        builder.openBlock({ isPre: true, leadingLineBreaks: 1 });
        builder.addLiteral('```\n');
        walk(element.children, builder);
        builder.addLiteral('\n```');
        builder.closeBlock({ trailingLineBreaks: 1 });
      },
    },
    selectors: [
      { selector: 'a', format: 'pill' },
      { selector: 'pre', format: 'fence' },
      { selector: 'mx-reply', format: 'skip' },
      { selector: 'p', format: 'paragraph', options: { leadingLineBreaks: 1, trailingLineBreaks: 1 } },
    ],
  });
}
