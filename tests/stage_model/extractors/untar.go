// Extract a gzipped tar file with Go's standard library: go run untar.go <archive> <folder>
package main

import (
	"archive/tar"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	file, err := os.Open(os.Args[1])
	check(err)
	stream, err := gzip.NewReader(file)
	check(err)
	archive := tar.NewReader(stream)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		check(err)
		path := filepath.Join(os.Args[2], header.Name)
		check(os.MkdirAll(filepath.Dir(path), 0o755))
		target, err := os.Create(path)
		check(err)
		_, err = io.Copy(target, archive)
		check(err)
		check(target.Close())
	}
	_, err = io.Copy(io.Discard, stream) // verifies the checksum at the end
	check(err)
}
