package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

type certificates struct {
	vcenter, host tls.Certificate
	caFile        string
}

// makeCertificates makes a CA and, signed by it, the vCenter's and the ESXi host's certificates.
func makeCertificates(dir string, hostSelfSigned bool) (*certificates, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	ca := template("vmferry lab CA")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return nil, err
	}
	c := &certificates{caFile: filepath.Join(dir, "ca.pem")}
	if err := os.WriteFile(c.caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return nil, err
	}
	if ca, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	if c.vcenter, err = leaf("vcenter.lab", ca, caKey, "127.0.0.1", "127.0.0.2"); err != nil {
		return nil, err
	}
	if hostSelfSigned {
		ca = nil
	}
	c.host, err = leaf("esxi.lab", ca, caKey, "127.0.0.3")
	return c, err
}

func template(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // the system has no randomness
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(1, 0, 0),
	}
}

// leaf makes a server certificate; without an issuer it signs itself.
func leaf(name string, issuer *x509.Certificate, issuerKey *ecdsa.PrivateKey, ips ...string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := template(name)
	t.DNSNames = []string{"localhost", name}
	for _, ip := range ips {
		t.IPAddresses = append(t.IPAddresses, net.ParseIP(ip))
	}
	t.KeyUsage, t.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if issuer == nil {
		issuer, issuerKey = t, key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, issuer, key.Public(), issuerKey)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// sha1Thumbprint is the form of HttpNfcLeaseDeviceUrl.sslThumbprint.
func sha1Thumbprint(c tls.Certificate) string {
	return colons(fmt.Sprintf("%X", sha1.Sum(c.Certificate[0])))
}

func sha256Thumbprint(c tls.Certificate) string {
	return colons(fmt.Sprintf("%X", sha256.Sum256(c.Certificate[0])))
}

func colons(hex string) string {
	var pairs []string
	for i := 0; i < len(hex); i += 2 {
		pairs = append(pairs, hex[i:i+2])
	}
	return strings.Join(pairs, ":")
}
