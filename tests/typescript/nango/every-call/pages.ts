import { createSync } from 'nango';
import * as z from 'zod';
import { equal, rejected } from './assert.js';

interface Row {
    id: number;
}

const ids = async (pages: AsyncIterable<Row[]>): Promise<number[][]> => {
    const all: number[][] = [];
    for await (const page of pages) {
        all.push(page.map(({ id }) => id));
    }
    return all;
};

const sync = createSync({
    description: 'Every way to page',
    version: '1.0.0',
    frequency: 'every week',
    autoStart: true,
    models: { Thing: z.object({ id: z.string() }) },

    exec: async (nango) => {
        // cursor in the query; the list is the body; a cursor under a key with dots
        equal(
            await ids(nango.paginate<Row>({ endpoint: '/cursor', params: { q: 'x' }, paginate: { type: 'cursor', cursor_name_in_request: 'c', cursor_path_in_response: 'meta.next', response_path: 'rows', limit: 2, limit_name_in_request: 'n' } })),
            [[1, 2], [3, 4], [5]],
            'cursor'
        );
        equal(
            await ids(nango.paginate<Row>({ endpoint: '/cursor-dotted', paginate: { type: 'cursor', cursor_name_in_request: 'c', cursor_path_in_response: '@page.next', response_path: 'the.rows' } })),
            [[1], [2]],
            'keys with dots win'
        );

        // cursor in a body
        equal(
            await ids(nango.paginate<Row>({ method: 'POST', endpoint: '/cursor-body', data: { filter: { a: 1 } }, paginate: { type: 'cursor', cursor_name_in_request: 'page.after', cursor_path_in_response: 'after', response_path: 'rows', limit: 1, limit_name_in_request: 'page.size' } })),
            [[1], [2]],
            'cursor in a body'
        );

        // link, in a header
        equal(
            await ids(nango.paginate<Row>({ endpoint: '/link', params: { state: 'all' }, paginate: { type: 'link', link_rel_in_response_header: 'next', limit: 2, limit_name_in_request: 'per_page' } })),
            [[1, 2], [], [3]],
            'link in a header, with an empty page'
        );
        // link, in a body
        equal(
            await ids(nango.paginate<Row>({ endpoint: '/link-body', params: { a: 1 }, paginate: { type: 'link', link_path_in_response_body: 'links.next', response_path: 'rows' } })),
            [[1], [2]],
            'link in a body'
        );

        // offset
        const offsets: unknown[] = [];
        equal(
            await ids(nango.paginate<Row>({ endpoint: '/offset', paginate: { type: 'offset', offset_name_in_request: 'skip', offset_start_value: 10, offset_calculation_method: 'by-response-size', response_path: 'rows', on_page: async ({ nextPageParam, response }) => { offsets.push([nextPageParam, response.status]); } } })),
            [[1, 2], [3]],
            'offset without a limit ends with an empty page'
        );
        equal(offsets[0], [12, 200], 'on_page of an offset');
        equal(
            await ids(nango.paginate<Row>({ method: 'POST', endpoint: '/offset-body', data: { q: 'x' }, paginate: { type: 'offset', offset_name_in_request: 'page.number', offset_start_value: 1, offset_calculation_method: 'per-page', limit: 2, limit_name_in_request: 'page.size', response_path: 'rows' } })),
            [[1, 2], [3]],
            'page number in a body'
        );
        equal(
            await ids(nango.paginate<Row>({ method: 'GET', endpoint: '/offset-get', paginate: { type: 'offset', offset_name_in_request: 'offset', offset_calculation_method: 'by-response-size', limit: 1, limit_name_in_request: 'limit', response_path: 'rows' } })),
            [[1]],
            'an empty page ends an offset'
        );

        // in_body forces the body
        equal(
            await ids(nango.paginate<Row>({ method: 'DELETE', endpoint: '/in-body', paginate: { type: 'cursor', in_body: true, cursor_name_in_request: 'c', cursor_path_in_response: 'next', response_path: 'rows' } } as any)),
            [[1], [2]],
            'in_body'
        );

        // on_page comes after the consumer took the page, and is awaited
        const order: string[] = [];
        for await (const page of nango.paginate<Row>({
            endpoint: '/order',
            paginate: {
                type: 'cursor',
                cursor_name_in_request: 'c',
                cursor_path_in_response: 'next',
                response_path: 'rows',
                on_page: async ({ nextPageParam }) => {
                    await new Promise((resolve) => setTimeout(resolve, 1));
                    order.push(`on_page ${String(nextPageParam)}`);
                }
            }
        })) {
            order.push(`page ${page[0]?.id}`);
        }
        equal(order, ['page 1', 'on_page b', 'page 2', 'on_page undefined'], 'the order of on_page');

        // by hand, and stopped half-way
        const pages = nango.paginate<Row>({ endpoint: '/cursor', params: { q: 'x' }, paginate: { type: 'cursor', cursor_name_in_request: 'c', cursor_path_in_response: 'meta.next', response_path: 'rows', limit: 2, limit_name_in_request: 'n' } });
        const first = await pages.next();
        equal([first.done, first.value?.length], [false, 2], 'next()');
        for await (const page of nango.paginate<Row>({ endpoint: '/stopped', paginate: { type: 'link', link_rel_in_response_header: 'next' } })) {
            equal(page.length, 1, 'the page before the break');
            break;
        }

        // An error on the way
        equal((await rejected(ids(nango.paginate<Row>({ endpoint: '/page-error', paginate: { type: 'cursor', cursor_name_in_request: 'c', cursor_path_in_response: 'next' } })), 'an error')).response.status, 403, 'an error of a page');

        // An async generator over pages
        async function* rows(): AsyncGenerator<number> {
            for await (const page of nango.paginate<Row>({ endpoint: '/link', params: { state: 'all' }, paginate: { type: 'link', link_rel_in_response_header: 'next', limit: 2, limit_name_in_request: 'per_page' } })) {
                yield* page.map(({ id }) => id);
            }
        }
        const seen: number[] = [];
        for await (const id of rows()) {
            seen.push(id);
        }
        equal(seen, [1, 2, 3], 'an async generator');
    }
});

export default sync;
