// The sync that every language does alike; tests/guests/conformance says what.
import { createSync, z } from 'terapi'

const Issue = z.object({
  id: z.string(),
  number: z.number(),
  title: z.string(),
  state: z.string(),
  author: z.string().nullable(),
  labels: z.array(z.string()),
  weight: z.number(),
  reactions: z.object({ total_count: z.number(), '+1': z.number(), heart: z.number() }),
  milestone: z.object({ title: z.string(), due_on: z.string().nullable() }).nullable(),
  body: z.string().nullable(),
  updated_at: z.string(),
})

function toIssue(issue: any): z.infer<typeof Issue> {
  const { total_count, '+1': plusOne, heart } = issue.reactions
  return {
    id: String(issue.id),
    number: issue.number,
    title: issue.title,
    state: issue.state,
    author: issue.user?.login ?? null,
    labels: issue.labels.map((label: { name: string }) => label.name),
    weight: issue.weight,
    reactions: { total_count, '+1': plusOne, heart },
    milestone: issue.milestone && { title: issue.milestone.title, due_on: issue.milestone.due_on },
    body: issue.body,
    updated_at: issue.updated_at,
  }
}

export default createSync({
  description: 'Keeps the issues of a repository.',
  version: '1.0.0',
  frequency: 'every hour',
  baseUrl: 'https://api.github.com',
  models: { Issue },
  config: z.object({ repository: z.string(), all: z.boolean().optional() }),

  exec: async (terapi) => {
    const { repository, all } = terapi.config
    const since = all ? undefined : terapi.lastSyncDate
    if (!since) await terapi.trackDeletesStart('Issue')
    let pages = 0
    for await (const page of terapi.paginate<any>({
      endpoint: `/repos/${repository}/issues`,
      params: { state: 'all', per_page: 3, since: since?.toISOString() },
      paginate: { type: 'link', link_rel_in_response_header: 'next' },
      retries: 3,
    })) {
      await terapi.batchSave(page.filter((issue) => !issue.pull_request).map(toIssue), 'Issue')
      pages += 1
      if (!since) await terapi.saveCheckpoint({ pages })
    }
    if (!since) {
      await terapi.trackDeletesEnd('Issue')
      await terapi.clearCheckpoint()
    }
  },
})
