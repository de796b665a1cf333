import { NangoSyncLocal } from '../syncs/tasks.js';

export interface Change {
    task_id: number;
    kind: 'upserted' | 'removed';
    task?: { title: string; done: boolean; labels?: string[]; due?: { date: string } };
}

export interface Changes {
    changes: Change[];
    sync_token: string;
    next_page: string | null;
}

/** The server has forgotten what our token stood for. */
export class TokenExpired extends Error {
    constructor(public readonly token: string) {
        super('sync token expired');
        this.name = 'TokenExpired';
    }
}

export async function fetchChanges(nango: NangoSyncLocal, syncToken: string, page: string): Promise<Changes> {
    try {
        const response = await nango.post<Changes>({
            endpoint: '/sync/v1/changes',
            data: {
                ...(syncToken !== '' ? { sync_token: syncToken } : { full: true }),
                ...(page !== '' && { page }),
                page_size: 2
            },
            headers: { 'Content-Type': 'application/json' },
            retries: 3
        });
        return response.data;
    } catch (error: any) {
        if (error?.response?.status === 410 && error.response.data?.error?.code === 'EXPIRED_TOKEN') {
            throw new TokenExpired(syncToken);
        }
        throw error;
    }
}
