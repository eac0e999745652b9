package main

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
)

// The streamOptimized VMDK with a footer, as ESXi exports it (VMware "Virtual Disk Format 5.0").
const (
	sector         = 512
	grainSectors   = 128
	grain          = grainSectors * sector
	tableEntries   = 512
	overhead       = 128 // sectors before the first grain
	gdAtEnd        = 0xffffffffffffffff
	markerEOS      = 0
	markerTable    = 1
	markerDir      = 2
	markerFooter   = 3
	flags          = 0x30001 // newline test, compressed grains, markers
	compressionZip = 1
)

// sectorWriter counts and remembers the first error.
type sectorWriter struct {
	w   io.Writer
	n   int64
	err error
}

func (s *sectorWriter) write(p []byte) {
	if s.err == nil {
		var n int
		n, s.err = s.w.Write(p)
		s.n += int64(n)
	}
}

func (s *sectorWriter) pad() {
	if r := s.n % sector; r != 0 {
		s.write(make([]byte, sector-r))
	}
}

func (s *sectorWriter) sector() uint64 { return uint64(s.n / sector) }

func sparseHeader(capacity, directory uint64) []byte {
	h, le := make([]byte, sector), binary.LittleEndian
	copy(h, "KDMV")
	le.PutUint32(h[4:], 3)
	le.PutUint32(h[8:], flags)
	le.PutUint64(h[12:], capacity)
	le.PutUint64(h[20:], grainSectors)
	le.PutUint64(h[28:], 1)  // descriptor: sector
	le.PutUint64(h[36:], 20) // descriptor: sectors
	le.PutUint32(h[44:], tableEntries)
	le.PutUint64(h[56:], directory)
	le.PutUint64(h[64:], overhead)
	copy(h[73:], "\n \r\n")
	le.PutUint16(h[77:], compressionZip)
	return h
}

func marker(sectors uint64, kind uint32) []byte {
	m := make([]byte, sector)
	binary.LittleEndian.PutUint64(m, sectors)
	binary.LittleEndian.PutUint32(m[12:], kind)
	return m
}

func table(entries []uint32) []byte {
	b := make([]byte, (len(entries)*4+sector-1)/sector*sector)
	for i, e := range entries {
		binary.LittleEndian.PutUint32(b[i*4:], e)
	}
	return b
}

func descriptor(capacity uint64, name string) string {
	return fmt.Sprintf("# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n"+
		"# Extent description\nRDONLY %d SPARSE \"%s\"\n\n#DDB\nddb.adapterType = \"lsilogic\"\nddb.virtualHWVersion = \"13\"\n"+
		"ddb.geometry.cylinders = \"%d\"\nddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\n", capacity, name, capacity/(255*63))
}

// writeStreamOptimized converts size bytes of a raw disk. Grains of zeros are left out.
func writeStreamOptimized(out io.Writer, in io.Reader, size int64, name string) error {
	w := &sectorWriter{w: out}
	capacity := uint64(size+sector-1) / sector
	head := make([]byte, overhead*sector)
	copy(head, sparseHeader(capacity, gdAtEnd))
	copy(head[sector:], descriptor(capacity, name))
	w.write(head)

	var directory []uint32
	entries, used := make([]uint32, tableEntries), false
	zero, buf := make([]byte, grain), make([]byte, grain)
	var compressed bytes.Buffer
	deflate, err := zlib.NewWriterLevel(&compressed, zlib.BestSpeed)
	if err != nil {
		return err
	}
	grains := int((size + grain - 1) / grain)
	for i := range grains {
		if n, err := io.ReadFull(in, buf); err == io.ErrUnexpectedEOF {
			copy(buf[n:], zero)
		} else if err != nil {
			return err
		}
		if !bytes.Equal(buf, zero) {
			compressed.Reset()
			deflate.Reset(&compressed)
			if _, err := deflate.Write(buf); err != nil {
				return err
			}
			if err := deflate.Close(); err != nil {
				return err
			}
			entries[i%tableEntries], used = uint32(w.sector()), true
			lead := binary.LittleEndian.AppendUint64(nil, uint64(i)*grainSectors)
			w.write(binary.LittleEndian.AppendUint32(lead, uint32(compressed.Len())))
			w.write(compressed.Bytes())
			w.pad()
		}
		if i%tableEntries == tableEntries-1 || i == grains-1 {
			at := uint32(0)
			if used {
				w.write(marker(tableEntries*4/sector, markerTable))
				at = uint32(w.sector())
				w.write(table(entries))
				entries, used = make([]uint32, tableEntries), false
			}
			directory = append(directory, at)
		}
	}
	t := table(directory)
	w.write(marker(uint64(len(t)/sector), markerDir))
	at := w.sector()
	w.write(t)
	w.write(marker(1, markerFooter))
	w.write(sparseHeader(capacity, at))
	w.write(marker(0, markerEOS))
	return w.err
}
