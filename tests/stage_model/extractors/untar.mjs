// Extract a gzipped tar file of regular files with Node's zlib: node untar.mjs <archive> <folder>
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { gunzipSync } from 'node:zlib'

const [, , archive, folder] = process.argv
const data = gunzipSync(readFileSync(archive))
const text = (start, length) => data.toString('utf8', start, start + length).replace(/\0.*$/s, '')
for (let at = 0; data[at] !== 0; ) {
  const size = parseInt(text(at + 124, 12), 8)
  if (text(at + 257, 5) !== 'ustar' || text(at + 156, 1) !== '0') throw new Error(`no regular file at ${at}`)
  const path = join(folder, text(at, 100))
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, data.subarray(at + 512, at + 512 + size))
  at += 512 + Math.ceil(size / 512) * 512
}
