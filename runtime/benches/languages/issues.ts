import { createSync, z } from 'terapi'
import { toIssue } from './map.js'

const Issue = z.object({
  id: z.string(),
  number: z.number(),
  title: z.string(),
  state: z.string(),
  author: z.string().nullable(),
  labels: z.array(z.string()),
  body: z.string().nullable(),
  created_at: z.string(),
  updated_at: z.string(),
  closed_at: z.string().nullable(),
})

export default createSync({
  description: 'Keeps the issues of a repository.',
  version: '1.0.0',
  frequency: 'every day',
  models: { Issue },
  exec: async (terapi) => {
    const pages = terapi.paginate<any>({
      endpoint: '/repos/terapi/bench/issues',
      params: { state: 'all', per_page: 100 },
      paginate: { type: 'link', link_rel_in_response_header: 'next' },
    })
    for await (const page of pages) {
      await terapi.batchSave(page.filter((issue) => !issue.pull_request).map(toIssue), 'Issue')
    }
  },
})
