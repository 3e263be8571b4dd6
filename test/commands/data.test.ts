import { expect, test } from '@jest/globals';
import { userList } from '../../src/commands/user/list.ts';
import { listData } from '../../src/commands/data.ts';
import type { ListCommand, Page } from '../../src/commands/define.ts';

async function* pages(...rows: Record<string, unknown>[][]): AsyncGenerator<Page<Record<string, unknown>>> {
  for (const page of rows) yield await Promise.resolve({ rows: page });
}

async function whole(chunks: AsyncIterable<string>): Promise<string> {
  let text = '';
  for await (const chunk of chunks) text += chunk;
  return text;
}

const row = (userId: string, displayName: string | null): Record<string, unknown> => ({
  userId,
  displayName,
  admin: true,
  deactivated: false,
  locked: false,
  guest: false,
  type: null,
  createdAt: 'T',
  lastSeenAt: null,
});
const command = userList as ListCommand;

test('CSV has its header once, over all pages, and cells that are no formulas', async () => {
  const { chunks } = listData(
    command,
    pages([row('@a:x', '=1+1')], [row('@b=c/d:x.org:8448', 'say "hi", twice\nand more')], [row('@sum(1)|x:y', '-2')]),
    'csv',
  );
  expect(await whole(chunks)).toBe(
    'userId,displayName,admin,deactivated,locked,guest,type,createdAt,lastSeenAt\n' +
      "@a:x,'=1+1,true,false,false,false,,T,\n" +
      '@b=c/d:x.org:8448,"say ""hi"", twice\nand more",true,false,false,false,,T,\n' +
      "'@sum(1)|x:y,'-2,true,false,false,false,,T,\n",
  );
});

test.each([
  [
    [[row('@a:x', 'A')], [], [row('@b:x', null)]],
    ['@a:x', '@b:x'],
  ],
  [[[]], []],
])('JSON of several pages is one array', async (given, ids) => {
  const { chunks } = listData(command, pages(...given), 'json');
  expect((JSON.parse(await whole(chunks)) as { userId: string }[]).map(({ userId }) => userId)).toEqual(ids);
});
