// The work of the script in Node, on pages that are in memory: read, map, write. `node node.mjs MAP.JS PAGES`, a page a line.
import { readFileSync } from 'node:fs'

const [, , map, file] = process.argv
const { toIssue } = await import('data:text/javascript,' + encodeURIComponent(readFileSync(map, 'utf8')))
const pages = readFileSync(file, 'utf8').trimEnd().split('\n').map((line) => Buffer.from(line))

function pass() {
  let bytes = 0
  let records = 0
  for (const page of pages) {
    const issues = JSON.parse(page.toString('utf8'))
    for (const record of issues.filter((issue) => !issue.pull_request).map(toIssue)) {
      bytes += JSON.stringify(record).length
      records += 1
    }
  }
  return { bytes, records }
}

const times = []
let done
for (let round = 0; round < 21; round++) {
  const before = process.cpuUsage()
  done = pass()
  const { user, system } = process.cpuUsage(before)
  times.push((user + system) / 1000)
}
const [first, ...others] = times
others.sort((a, b) => a - b)
console.log(JSON.stringify({ ...done, first, warm: others[others.length >> 1], version: process.version }))
