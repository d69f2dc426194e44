// Modzip turns the tar archive of a commit into a module that the go command can download: it reads
// the archive from standard input and writes the files of a module proxy (list, .info, .mod, .zip)
// under -out, to be used as GOPROXY=file://….
//
//	git archive HEAD | go run ./.ci/modzip -module example.com/m -version v1.2.3 -out /somewhere
//
// It leaves out what the go command leaves out of a module's zip file: nested modules, and whatever
// is not a regular file. See https://go.dev/ref/mod#zip-files and #goproxy-protocol. A module path
// with upper-case letters would need escaping, which is left out as well.
package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("modzip: ")
	module := flag.String("module", "", "module path")
	version := flag.String("version", "", "module version")
	out := flag.String("out", "", "root folder of the proxy")
	flag.Parse()
	if *module == "" || *version == "" || *out == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(os.Stdin, *module, *version, *out); err != nil {
		log.Fatal(err)
	}
}

// file is one regular file of the archive; its name is slash-separated and relative to the module's
// root.
type file struct {
	name string
	data []byte
}

func run(archive io.Reader, module, version, out string) error {
	files, err := read(archive)
	if err != nil {
		return fmt.Errorf("reading the archive: %w", err)
	}
	files, mod := own(files)
	if mod == nil {
		return errors.New("the archive has no go.mod in its root")
	}
	zipped, err := pack(files, module+"@"+version)
	if err != nil {
		return fmt.Errorf("packing: %w", err)
	}
	info, err := json.Marshal(struct {
		Version string
		Time    time.Time
	}{version, time.Now().UTC()})
	if err != nil {
		return err
	}

	dir := filepath.Join(out, filepath.FromSlash(module), "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		"list":            []byte(version + "\n"),
		version + ".info": info,
		version + ".mod":  mod,
		version + ".zip":  zipped,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// read returns the regular files of a tar archive.
func read(archive io.Reader) ([]file, error) {
	var files []file
	for r := tar.NewReader(archive); ; {
		header, err := r.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		files = append(files, file{path.Clean(header.Name), data})
	}
}

// own returns the files that belong to the module itself and not to one nested in it, and the
// content of its go.mod.
func own(files []file) (kept []file, mod []byte) {
	var nested []string
	for _, f := range files {
		switch dir, base := path.Split(f.name); {
		case base != "go.mod":
		case dir == "":
			mod = f.data
		default:
			nested = append(nested, dir)
		}
	}
next:
	for _, f := range files {
		for _, dir := range nested {
			if strings.HasPrefix(f.name, dir) {
				continue next
			}
		}
		kept = append(kept, f)
	}
	return kept, mod
}

// pack returns a zip file in which every name begins with the module's path and version.
func pack(files []file, prefix string) ([]byte, error) {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, f := range files {
		entry, err := w.Create(prefix + "/" + f.name)
		if err != nil {
			return nil, err
		}
		if _, err := entry.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
