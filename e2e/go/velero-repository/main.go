// Command velero-repository is what Velero's own code does to a repository, without a cluster: it creates one in a folder,
// backs up a volume as a DataUpload does, and restores as a DataDownload does. Interop compares us with it.
//
//	velero-repository create  REPOSITORY
//	velero-repository backup  REPOSITORY VOLUME SOURCE filesystem|block    (prints the snapshot's id)
//	velero-repository restore REPOSITORY SNAPSHOT VOLUME filesystem|block
//	velero-repository maintain REPOSITORY
//
// SOURCE is what Velero names the volume by, as "shop/data". VELERO_REPOSITORY_CONFIG is the folder for connections and
// KOPIA_PASSWORD the repository's password.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kopia/kopia/snapshot/upload"
	"github.com/sirupsen/logrus"

	"github.com/vmware-tanzu/velero/pkg/repository/udmrepo"
	"github.com/vmware-tanzu/velero/pkg/repository/udmrepo/service"
	"github.com/vmware-tanzu/velero/pkg/uploader"
	"github.com/vmware-tanzu/velero/pkg/uploader/kopia"
)

// requestor is who takes snapshots of volumes whose data moves.
const requestor = "snapshot-data-upload-download"

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	logger := logrus.New()
	logger.SetLevel(logrus.WarnLevel)
	if len(args) < 2 {
		return fmt.Errorf("usage: velero-repository create|backup|restore|maintain REPOSITORY …")
	}
	repositories := service.Create("kopia", logger)
	options := optionsFor(args[1])
	switch {
	case args[0] == "create" && len(args) == 2:
		return repositories.Create(ctx, options)
	case args[0] == "maintain" && len(args) == 2:
		if err := repositories.Connect(ctx, options); err != nil {
			return err
		}
		options.GeneralOptions[udmrepo.GenOptionMaintainMode] = udmrepo.GenOptionMaintainFull
		return repositories.Maintain(ctx, options)
	case args[0] == "backup" && len(args) == 5, args[0] == "restore" && len(args) == 5:
		if err := repositories.Connect(ctx, options); err != nil {
			return err
		}
		opened, err := repositories.Open(ctx, options)
		if err != nil {
			return err
		}
		defer opened.Close(ctx)
		if args[0] == "backup" {
			return backup(ctx, logger, opened, args[2], args[3], mode(args[4]))
		}
		return restore(ctx, logger, opened, args[2], args[3], mode(args[4]))
	}
	return fmt.Errorf("what is %q?", args)
}

func mode(text string) uploader.PersistentVolumeMode {
	if text == "block" {
		return uploader.PersistentVolumeBlock
	}
	return uploader.PersistentVolumeFilesystem
}

// optionsFor are Velero's own for a folder (pkg/repository/provider/unified_repo.go): everybody is default@default.
func optionsFor(folder string) udmrepo.RepoOptions {
	return udmrepo.RepoOptions{
		StorageType:    udmrepo.StorageTypeFs,
		RepoPassword:   os.Getenv("KOPIA_PASSWORD"),
		ConfigFilePath: filepath.Join(os.Getenv("VELERO_REPOSITORY_CONFIG"), "repo.conf"),
		Description:    "interop",
		GeneralOptions: map[string]string{
			udmrepo.GenOptionOwnerName:   udmrepo.GetRepoUser(),
			udmrepo.GenOptionOwnerDomain: udmrepo.GetRepoDomain(),
		},
		StorageOptions: map[string]string{
			udmrepo.StoreOptionFsPath:           folder,
			udmrepo.StoreOptionGenHashAlgo:      "",
			udmrepo.StoreOptionGenEncryptAlgo:   "",
			udmrepo.StoreOptionGenSplitAlgo:     "",
			udmrepo.StoreOptionGenReadOnly:      "",
			udmrepo.StoreOptionCacheLimit:       "",
			udmrepo.StoreOptionCacheDir:         filepath.Join(os.Getenv("VELERO_REPOSITORY_CONFIG"), "cache"),
			udmrepo.StoreOptionGenRetentionMode: "",
		},
	}
}

// backup is pkg/uploader/provider/kopia.go's RunBackup, whose provider wants a Secret to ask for the password.
func backup(ctx context.Context, logger logrus.FieldLogger, opened udmrepo.BackupRepo, volume, source string, mode uploader.PersistentVolumeMode) error {
	writer := kopia.NewShimRepo(opened)
	up := upload.NewUploader(writer)
	up.FailFast = true
	up.Progress = kopia.NewProgress(silent{}, 1, logger)
	tags := map[string]string{
		uploader.SnapshotRequesterTag: requestor,
		uploader.SnapshotUploaderTag:  uploader.KopiaType,
	}
	settings := map[string]string{}
	if opened.GetAdvancedFeatures().MultiPartBackup {
		settings[kopia.UploaderConfigMultipartKey] = "true"
	}
	realSource := fmt.Sprintf("%s/%s/%s", requestor, uploader.KopiaType, source)
	taken, _, err := kopia.Backup(ctx, up, writer, volume, realSource, false, "", mode, settings, tags, logger)
	if err != nil {
		return err
	}
	fmt.Println(taken.ID)
	return nil
}

func restore(ctx context.Context, logger logrus.FieldLogger, opened udmrepo.BackupRepo, snapshot, volume string, mode uploader.PersistentVolumeMode) error {
	progress := kopia.NewProgress(silent{}, 1, logger)
	_, _, err := kopia.Restore(ctx, kopia.NewShimRepo(opened), progress, snapshot, volume, mode, nil, logger, make(chan struct{}))
	return err
}

// silent is nobody to tell.
type silent struct{}

func (silent) UpdateProgress(*uploader.Progress) {}
