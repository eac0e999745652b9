package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/uuid"
)

// vmxFile is a VM's configuration file: libvirt's ESX driver and virt-v2v read it.
type vmxFile struct{ b bytes.Buffer }

func newVMX(v VMSpec, bios uuid.UUID) *vmxFile {
	x := new(vmxFile)
	guestOS := strings.ReplaceAll(strings.TrimSuffix(v.GuestID, "Guest"), "_64", "-64")
	for _, kv := range [][2]string{
		{".encoding", "UTF-8"}, {"config.version", "8"}, {"virtualHW.version", "13"}, {"displayName", v.Name}, {"guestOS", guestOS},
		{"memSize", fmt.Sprint(v.MemoryMiB)}, {"numvcpus", fmt.Sprint(v.CPUs)}, {"uuid.bios", fmt.Sprintf("% x-% x", bios[:8], bios[8:])},
	} {
		x.set(kv[0], kv[1])
	}
	if v.Firmware == "efi" { // BIOS is the absence of it
		x.set("firmware", v.Firmware)
	}
	return x
}

func (x *vmxFile) set(key, value string) {
	fmt.Fprintf(&x.b, "%s = \"%s\"\n", key, vmxText.Replace(value))
}

func (x *vmxFile) controller(bus int) {
	x.set(fmt.Sprintf("scsi%d.present", bus), "TRUE")
	x.set(fmt.Sprintf("scsi%d.virtualDev", bus), "pvscsi")
}

func (x *vmxFile) disk(bus int, unit int32, file string) {
	prefix := fmt.Sprintf("scsi%d:%d.", bus, unit)
	x.set(prefix+"present", "TRUE")
	x.set(prefix+"deviceType", "scsi-hardDisk")
	x.set(prefix+"fileName", file)
}

func (x *vmxFile) nic(i int, s NICSpec, mac string) {
	prefix := fmt.Sprintf("ethernet%d.", i)
	x.set(prefix+"present", "TRUE")
	x.set(prefix+"virtualDev", s.Adapter)
	x.set(prefix+"networkName", s.Network)
	x.set(prefix+"addressType", "static")
	x.set(prefix+"address", mac)
	x.set(prefix+"pciSlotNumber", fmt.Sprint(s.Slot))
}

func (x *vmxFile) bytes() []byte { return x.b.Bytes() }

// rawOf is the file with the content of the disk that a descriptor stands for.
func rawOf(descriptor string) string {
	base := strings.TrimSuffix(descriptor, ".vmdk")
	if deltaName.MatchString(base) {
		return base + "-delta.vmdk"
	}
	return base + "-flat.vmdk"
}

// writeDescriptor writes the descriptor beside a disk's content. parent is the descriptor below a delta.
func writeDescriptor(raw, parent string) error {
	st, err := os.Stat(raw)
	if err != nil {
		return err
	}
	kind, extent, parentCID, hint := "vmfs", "VMFS", "ffffffff", ""
	if parent != "" {
		kind, extent, parentCID = "vmfsSparse", "VMFSSPARSE", "fffffffe"
		hint = fmt.Sprintf("parentFileNameHint=\"%s\"\n", filepath.Base(parent))
	}
	text := fmt.Sprintf("# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=%s\ncreateType=\"%s\"\n%s\n"+
		"# Extent description\nRW %d %s \"%s\"\n\n#DDB\nddb.adapterType = \"lsilogic\"\nddb.thinProvisioned = \"1\"\nddb.virtualHWVersion = \"13\"\n",
		rand.Uint32(), parentCID, kind, hint, st.Size()/512, extent, filepath.Base(raw))
	name := strings.TrimSuffix(strings.TrimSuffix(raw, "-flat.vmdk"), "-delta.vmdk") + ".vmdk"
	return os.WriteFile(name, []byte(text), 0o600)
}

var contentID = regexp.MustCompile(`(?m)^CID=\w+$`)

// newContentID changes what a descriptor says of its content, as a host does at the first write after it was opened.
func newContentID(descriptor string) error {
	text, err := os.ReadFile(descriptor)
	if err != nil {
		return err
	}
	text = contentID.ReplaceAll(text, fmt.Appendf(nil, "CID=%08x", rand.Uint32()))
	return os.WriteFile(descriptor, text, 0o600)
}
